"""Whole tiny encoders on the unit: oracle, RTL, and what is said where something is wrong."""
import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from sparseloom.hw.job import split_tokens
from sparseloom.model.config import QuantizeConfig
from sparseloom.model.errors import InputError
from sparseloom.model.flow import quantize_checkpoint
from sparseloom.model.layers import base_model
from sparseloom.model.packed.artefact import Artefact, read_artefact
from sparseloom.model.reference import linear
from sparseloom.sim.backends import OracleBackend, RtlBackend
from sparseloom.sim.offload import choose_items, config_for, offload, run_offload
from tests.model.test_integer_model import SENTENCES, quantised
from tests.model.tiny import (
    KINDS,
    LAYER_NAMES,
    LAYERS,
    class_task,
    similarity_task,
    tiny_checkpoint,
)
from tests.sim.test_server import CONFIG

HEADS = 4


@pytest.fixture(scope="module")
def rtl():
    backend = RtlBackend(CONFIG, long_run=False)
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A tiny quantised BERT with a task of sentence pairs."""
    root = tmp_path_factory.mktemp("offload")
    quantize_checkpoint(tiny_checkpoint(root / "checkpoint"), similarity_task(), root / "artefact",
                        evaluate=False)
    return root / "artefact"


def hidden(model, batch):
    with torch.inference_mode():
        return base_model(model)(**batch).last_hidden_state


@pytest.mark.parametrize("kind", KINDS)
def test_three_kinds_of_encoder(kind, rtl):
    """Oracle, plain integers and RTL: the same bits, and every product went through the backend."""
    batch = None
    found = {}
    names: list[str] = []

    class Plain(OracleBackend):
        def run(self, work):
            names.extend(layer.name for layer, _ in work)
            return super().run(work)

    for way, backend in (("oracle", "oracle"), ("plain", Plain()), ("rtl", rtl)):
        model, _, layers, encoder = quantised(kind)
        batch = encoder.batch(SENTENCES[:2])
        assert offload(model, Artefact(layers), backend) is model
        found[way] = hidden(model, batch)
    assert torch.equal(found["oracle"].view(torch.int32), found["plain"].view(torch.int32))
    assert torch.equal(found["oracle"].view(torch.int32), found["rtl"].view(torch.int32))
    assert found["rtl"].abs().max() > 0.1
    assert [name for name in names if name in layers] == LAYER_NAMES[kind]
    assert len(names) == len(layers) + 2 * LAYERS * 2 * HEADS    # of each sentence, both products
    assert not any(isinstance(part, nn.Linear) for name, part in model.named_modules()
                   if "layer." in name)


def test_a_sentence_does_not_see_its_batch(rtl):
    """On RTL, too: alone, with others, with more padding."""
    model, _, layers, encoder = quantised()
    offload(model, Artefact(layers), rtl)
    together = encoder.batch(SENTENCES[:3])
    padded = {key: nn.functional.pad(value, (0, 5)) for key, value in together.items()}
    found, more = hidden(model, together), hidden(model, padded)
    for index, item in enumerate(SENTENCES[:3]):
        alone = hidden(model, encoder.batch([item]))[0]
        assert torch.equal(found[index, :len(alone)], alone)
        assert torch.equal(more[index, :len(alone)], alone)


def test_sentences_of_a_folder(folder, rtl):
    run = run_offload(folder, rtl, name="rtl", count=2)
    assert run.exact and run.layers == len(LAYER_NAMES["bert"])
    assert run.products == run.layers + LAYERS * 2 * HEADS
    assert [one.equal for one in run.sentences] == [True, True] and run.difference is None
    for one in run.sentences:
        m = one.tokens
        assert one.products == run.products and one.cycles is not None and one.cycles > 0
        # All outputs of 6 Linears, all scores and all of P·V, in both encoder layers.
        assert one.integers == LAYERS * (m * (5 * 48 + 96) + HEADS * m * m + m * 48)
    assert run.answer_values == 2 * 48
    plain = json.loads(json.dumps(run.as_dict()))
    assert plain["exact"] and plain["integers"] == run.integers and plain["mismatches"] == 0
    out = io.StringIO()
    run.show(Console(file=out, width=120))
    assert f"{run.integers:,} integers compared, 0 differ; answers of 2 of 2" in out.getvalue()


def test_a_model_with_a_head(tmp_path, rtl):
    """What is compared is the logits."""
    quantize_checkpoint(tiny_checkpoint(tmp_path / "c", "distilbert", labels=2), class_task(),
                        tmp_path / "a", evaluate=False)
    run = run_offload(tmp_path / "a", rtl, name="rtl", count=1, max_tokens=5)
    assert run.exact and run.answer_values == 2 and run.sentences[0].tokens <= 5


def test_weights_of_4_bits(tmp_path, rtl):
    """Linear layers on a unit of 4 bits, attention's products on one of 8: keys stay bytes."""
    quantize_checkpoint(tiny_checkpoint(tmp_path / "c", depth=1), similarity_task(),
                        tmp_path / "a", evaluate=False, quantize=QuantizeConfig(weight_bits=4))
    layers = read_artefact(tmp_path / "a").layers.values()
    assert {layer.weight_bits for layer in layers} == {4}
    assert max(int(abs(layer.weights).max()) for layer in layers) == 7
    before = {bits: rtl.server(bits).jobs for bits in (8, 4)}
    run = run_offload(tmp_path / "a", rtl, name="rtl", count=2)
    assert run.exact and [one.mismatches for one in run.sentences] == [0, 0]
    ran = {bits: rtl.server(bits).jobs - before[bits] for bits in (8, 4)}
    jobs = sum(len(split_tokens(one.tokens, inputs=layer.in_features, config=CONFIG))
               for one in run.sentences for layer in layers)
    assert ran == {8: 2 * 2 * HEADS, 4: jobs}


@pytest.mark.parametrize("bent", [
    "encoder.layer.0.intermediate.dense", "encoder.layer.1.attention.self.context.2"])
def test_a_planted_bug_is_named(folder, bent):
    """A wrong integer in one product: named by layer, token and output, and the answer differs."""
    class Bent(OracleBackend):
        def run(self, work):
            found = super().run(work)
            for (layer, _), values in zip(work, found, strict=True):
                if layer.name == bent:
                    values[1, 3] ^= 64
            return found

    run = run_offload(folder, Bent(), name="bent", count=1)
    assert not run.exact and not run.sentences[0].equal
    assert run.mismatches == 1 and run.difference is not None
    assert str(run.difference).startswith(f"layer {bent}, token 1, output 3: expected ")
    out = io.StringIO()
    run.show(Console(file=out, width=120))
    assert f"the first difference: layer {bent}, token 1" in out.getvalue()
    assert "DIFFERS" in out.getvalue()


def test_the_integer_model_is_judge_of_its_own(folder):
    """A backend that agrees with the oracle on wrong inputs is found out by the answer's bits."""
    from sparseloom.sim import offload as module

    class Other(OracleBackend):
        def run(self, work):
            return [linear(replace(layer, bias=layer.bias + 9999), x) if "output" in layer.name
                    else linear(layer, x) for layer, x in work]

    artefact = read_artefact(folder)
    changed = Artefact({name: replace(layer, bias=layer.bias + 9999) if "output" in name else layer
                        for name, layer in artefact.layers.items()}, artefact.metadata)
    offloaded, calls = module.offload, []

    def swapped(model, given, backend="oracle"):
        calls.append(backend)
        return offloaded(model, changed if len(calls) == 2 else given, backend)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "offload", swapped)
        run = run_offload(folder, OracleBackend(), name="oracle", count=1)
    assert len(calls) == 2 and run.mismatches == 0 and not run.sentences[0].equal and not run.exact


def test_attention_that_cannot_be_taken(folder, monkeypatch):
    artefact = read_artefact(folder)
    with monkeypatch.context() as patch:
        patch.setattr("sparseloom.model.integer_model._attend_alone", lambda base: None)
        with pytest.raises(InputError, match=r"attention encoder.layer.0.attention.self: expected "
                                             r"one call for a sentence, found 0"):
            offload(quantised()[0], artefact)
    monkeypatch.setattr("sparseloom.sim.offload.attention_layers", lambda linears: {})
    with pytest.raises(InputError, match=r"attention: expected queries, keys and values of each .* "
                                         r"found otherwise in BertModel"):
        offload(quantised()[0], artefact)


def test_what_cannot_be_offloaded(folder):
    artefact, model = read_artefact(folder), quantised()[0]
    with pytest.raises(InputError, match=r"port: expected .* backend board, found none for board"):
        offload(model, artefact, "board")
    for other, name in (("rtl", "rtl"), (OracleBackend(), "OracleBackend")):
        with pytest.raises(InputError, match=f"backend board, found /dev/x for {name}"):
            offload(model, artefact, other, port="/dev/x")
    with pytest.raises(InputError, match="port /dev/nothing: expected a serial port, found: "):
        offload(model, artefact, "board", port="/dev/nothing")
    with pytest.raises(InputError, match="backend: expected one of oracle, rtl, board, found gpu"):
        offload(model, artefact, "gpu")
    key = LAYER_NAMES["bert"][1]
    old = Artefact({**artefact.layers, key: replace(artefact.layers[key], output_zero_point=3)})
    with pytest.raises(InputError, match=rf"layer {key}, output_zero_point: expected 0"):
        offload(quantised()[0], old)


def test_a_board_by_its_port(folder, monkeypatch):
    """It is opened, asked whether the model fits, and computes every product."""
    opened, ran = [], []

    class Board(OracleBackend):
        def check(self, layers):
            opened.append(list(layers))

        def run(self, work):
            ran.extend(layer.name for layer, _ in work)
            return super().run(work)

    def open_board(port, *, baud):
        opened.append((port, baud))
        return Board()

    monkeypatch.setattr("sparseloom.sim.offload.BoardBackend.open", open_board)
    model, _, layers, encoder = quantised()
    offload(model, Artefact(layers), "board", port="/dev/ttyUSB0", baud=500_000)
    assert opened == [("/dev/ttyUSB0", 500_000), list(layers)]
    hidden(model, encoder.batch(SENTENCES[:1]))
    assert len(ran) == len(layers) + LAYERS * 2 * HEADS


def test_build_and_items(folder):
    assert config_for(read_artefact(folder)).max_k == 1536
    wide = Artefact({"w": replace_inputs(3072)})
    config = config_for(wide, rows=4, cols=6)
    assert (config.max_k, config.act_words, config.rows, config.cols) == (3072, 8192, 4, 6)
    from sparseloom.model.export import read_task_note

    note = read_task_note(folder)
    assert choose_items(note, 1, ["a dog", "a cat"]) == [("a dog",)]
    everything = choose_items(note, None, None)
    assert len(everything) > 20 and all(len(item) == 1 for item in everything)
    with pytest.raises(InputError, match="count: expected at most 2, all that there are, found 3"):
        choose_items(note, 3, ["a dog", "a cat", "a dog"])


def replace_inputs(inputs):
    from tests.layers import random_layer

    return random_layer(np.random.default_rng(0), name="w", inputs=inputs, outputs=4)
