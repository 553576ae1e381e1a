"""Backends beside the oracle: RTL of two widths, and what is said of a wrong answer."""
import os
import tty
from dataclasses import replace

import numpy as np
import pytest

from sparseloom.hw.errors import LinkError
from sparseloom.model.errors import InputError
from sparseloom.model.packed.layer import dense_layer
from sparseloom.model.reference import linear
from sparseloom.sim import backends
from sparseloom.sim.backends import BoardBackend, ComparedBackend, OracleBackend, RtlBackend
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.layer_queues import Difference
from tests.layers import random_acts, random_layer
from tests.sim.test_server import CONFIG


def make_work(seed=1):
    """A layer of several jobs, one with a table, and a product made at run time."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-127, 128, (7, 12)).astype(np.int8)
    layers = [random_layer(rng, name="long", inputs=90, outputs=7, raw=True),
              random_layer(rng, name="table", inputs=21, outputs=12, lut=True),
              dense_layer("product", weight, rng.integers(-999, 999, 7).astype(np.int32))]
    return [(layer, random_acts(rng, tokens, layer.in_features))
            for layer, tokens in zip(layers, (17, 4, 7), strict=True)]


@pytest.fixture(scope="module")
def rtl():
    backend = RtlBackend(CONFIG, long_run=False)
    yield backend
    backend.close()
    assert not backend.servers


def test_rtl_is_the_oracle(rtl):
    for seed in (1, 2):
        work = make_work(seed)
        before, found = rtl.cycles["long"], rtl.run(work)
        assert len(found) == 3 and rtl.cycles["long"] > before
        assert rtl.ideal_cycles["long"] < rtl.cycles["long"]
        for (layer, x), values in zip(work, found, strict=True):
            right = linear(layer, x)
            assert values.dtype == right.dtype and np.array_equal(values, right)
    assert list(rtl.servers) == [8] and rtl.servers[8].jobs == 2 * (3 + 1 + 1)


def test_a_stream_is_encoded_once(rtl, monkeypatch):
    work = make_work()
    first = rtl.run(work)
    monkeypatch.setattr("sparseloom.sim.backends.encode_weights", None)
    assert all(map(np.array_equal, rtl.run(work), first))
    del work
    assert not any(layer.name == "nobody" for layer in rtl._streams)


def test_what_does_not_fit(rtl):
    rng = np.random.default_rng(1)
    wide = random_layer(rng, name="wide", inputs=97, outputs=5)
    with pytest.raises(InputError, match="inputs: expected at most max_k = 96, found 97"):
        rtl.run([(wide, random_acts(rng, 2, 97))])
    work = make_work()
    with pytest.raises(InputError, match=r"layer long, activations: expected int8 of shape"):
        rtl.run([(work[0][0], work[1][1])])
    nibbles = random_layer(rng, name="n", inputs=9, outputs=5, weight_bits=4)
    with pytest.raises(InputError, match=r"expected one width in a queue, found \[4, 8\]"):
        rtl.run([work[0], (nibbles, random_acts(rng, 1, 9))])


def test_comparison_names_the_first_difference():
    class Bent(OracleBackend):
        def run(self, work):
            found = super().run(work)
            for (layer, _), values in zip(work, found, strict=True):
                if layer.name in ("table", "product"):
                    values[1, 4:6] += 1
            return found

    work, compared = make_work(), ComparedBackend(OracleBackend())
    compared.run(work)
    total = 17 * 7 + 4 * 12 + 7 * 7
    assert compared.found.products == 3 and compared.found.integers == total
    assert not compared.found.mismatches and compared.found.difference is None
    compared = ComparedBackend(Bent())
    passed = compared.run(work)
    right = linear(*work[1])
    assert passed[1][1, 4] == right[1, 4] + 1             # passed on as it is
    assert compared.found.mismatches == 4
    assert compared.found.difference == Difference(
        layer="table", token=1, output=4, expected=int(right[1, 4]), found=int(right[1, 4]) + 1)
    compared.run(work[2:])                                # the first stays the first
    assert compared.found.mismatches == 6
    assert compared.found.difference is not None and compared.found.difference.layer == "table"
    assert compared.names == {"long", "table", "product"}


def test_an_answer_of_another_shape():
    class Short(OracleBackend):
        def run(self, work):
            return [values[1:] for values in super().run(work)]

    with pytest.raises(SimulationError, match=r"layer long: expected int32 of shape \(17, 7\), "
                                              r"found int32 of shape \(16, 7\)"):
        ComparedBackend(Short()).run(make_work())


class StandIn:
    """A board's host that answers what the oracle does, and takes weights of one width."""

    def __init__(self, weight_bits=8):
        self.config = replace(CONFIG, weight_bits=weight_bits)

    def run_layer(self, layer, x):
        assert layer.weight_bits == self.config.weight_bits
        return linear(layer, x)


def test_a_board_is_its_host():
    """Weights of 4 bits are sent as weights of 8."""
    rng = np.random.default_rng(3)
    nibbles = random_layer(rng, name="nibbles", inputs=20, outputs=9, weight_bits=4)
    work = [*make_work(), (nibbles, random_acts(rng, 3, 20))]
    backend = BoardBackend(StandIn())                     # pyright: ignore[reportArgumentType]
    backend.check({layer.name: layer for layer, _ in work})
    for _ in range(2):
        found = backend.run(work)
        assert len(found) == len(work)
        for (layer, x), values in zip(work, found, strict=True):
            assert np.array_equal(values, linear(layer, x))
    assert nibbles.weight_bits == 4
    backend.close()


def test_a_model_that_a_backend_cannot_compute():
    wide = {"wide": random_layer(np.random.default_rng(1), name="wide", inputs=97, outputs=5)}
    says = "layer wide, inputs: expected at most max_k = 96, as the {} found 97"
    OracleBackend().check(wide)
    with pytest.raises(InputError, match=says.format("unit was built,")):
        ComparedBackend(RtlBackend(CONFIG)).check(wide)
    board = BoardBackend(StandIn())                       # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=says.format("board's register MAX_K says,")):
        board.check(wide)
    board = BoardBackend(StandIn(weight_bits=4))          # pyright: ignore[reportArgumentType]
    with pytest.raises(InputError, match=r"register GEOMETRY, weight_bits: expected 8, .* found 4"):
        board.check({})


def test_a_board_that_is_opened_closes_its_line():
    """Also where nobody answers."""
    board, port = os.openpty()
    tty.setraw(port)
    closed = []
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backends.SerialLine, "close", lambda line: closed.append(line))
            with pytest.raises(LinkError, match="link, hello: expected an answer within"):
                BoardBackend.open(os.ttyname(port))
            assert len(closed) == 1
            patch.setattr(backends, "Host", lambda line: StandIn())
            opened = BoardBackend.open(os.ttyname(port))
            opened.close()
            assert len(closed) == 2
    finally:
        os.close(board)
        os.close(port)
