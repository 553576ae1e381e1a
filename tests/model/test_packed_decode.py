"""A weight stream read back: the inverse of its encoder, and the unit's own list of refusals."""
import numpy as np
import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.decode import decode_weights
from sparseloom.model.packed.stream import encode_weights, reseal, split_packets, strip_columns
from sparseloom.sim.faults import weight_faults
from tests.layers import random_layer

UNIT = {"cols": 5, "block_inputs": 8}
CASES = {
    "straddling": {"inputs": 40, "outputs": 24, "p": 3, "q": 8},
    "one": {"inputs": 1, "outputs": 1},
    "table": {"inputs": 33, "outputs": 10, "p": 2, "q": 3, "lut": True},
    "empty": {"inputs": 30, "outputs": 10, "p": 2, "q": 3, "density": 0.0},
    "full": {"inputs": 30, "outputs": 10, "p": 2, "q": 3, "density": 1.0},
}


def stream_of(case: str, weight_bits: int):
    layer = random_layer(np.random.default_rng(4), weight_bits=weight_bits, **CASES[case])
    job = {"inputs": layer.in_features, "outputs": layer.out_features, "tag": 9,
           "lut": layer.lut is not None, "weight_bits": weight_bits, **UNIT}
    return layer, encode_weights(layer, tag=9, weight_bits=weight_bits, **UNIT), job


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize("case", CASES)
def test_what_was_encoded_is_decoded(case, weight_bits):
    layer, stream, job = stream_of(case, weight_bits)
    table, strips = decode_weights(stream, **job)
    assert (table is None) == (layer.lut is None)
    assert table is None or (table == layer.lut).all()
    assert [strip.columns.tolist() for strip in strips] == [
        columns.tolist() for columns in strip_columns(layer, 5)]
    outputs = layer.out_features
    rebuilt = np.zeros((5 * len(strips), layer.in_features), np.int8)
    for index, strip in enumerate(strips):
        rebuilt[5 * index:5 * index + 5, strip.columns] = strip.weights.T
    assert (rebuilt[:outputs] == layer.dense_weight()).all() and not rebuilt[outputs:].any()
    for field, dtype in (("bias", np.int32), ("mult", np.uint16), ("shift", np.uint8)):
        found = np.concatenate([getattr(strip, field) for strip in strips])
        assert found.dtype == dtype and (found[:outputs] == getattr(layer, field)).all()


@pytest.mark.parametrize("weight_bits", [8, 4])
@pytest.mark.parametrize("case", CASES)
def test_refuses_what_the_unit_refuses_by_the_same_cause(case, weight_bits):
    _, stream, job = stream_of(case, weight_bits)
    seen = set()
    for fault in weight_faults(stream, 4):
        if fault.keep:              # TKEEP is no part of the bytes
            continue
        with pytest.raises(InputError, match=r"^weight stream, packet \d+, \w+: exp") as caught:
            decode_weights(fault.data, **job)
        cause = str(caught.value).split(", ")[2].partition(":")[0]
        assert cause in fault.causes, fault.name
        seen.add(cause)
    assert {"version", "kind", "tag", "geometry", "weight_bits", "count", "crc", "params",
            "reserved", "weights_early_last", "weights_late_last"} <= seen


def test_every_cause_of_bytes_is_told():
    names = {name for name, _ in spec.ERROR_CAUSES.values()}
    _, stream, job = stream_of("straddling", 8)
    seen = set()
    for fault in weight_faults(stream, 4):
        if not fault.keep:
            with pytest.raises(InputError) as caught:
                decode_weights(fault.data, **job)
            seen.add(str(caught.value).split(", ")[2].partition(":")[0])
    assert names - seen == {"none", "weights_keep", "acts_early_last", "acts_late_last",
                            "acts_keep", "job"}


def spoilt(packet: bytes, at: int, value: int) -> bytes:
    return reseal(packet[:at] + bytes([value]) + packet[at + 1:])


def test_padding_must_be_zero():
    _, stream, job = stream_of("straddling", 4)
    first, *rest = split_packets(stream)
    for at in (16 + 15, len(first) - 17):       # behind the bitmap; behind the parameters
        with pytest.raises(InputError, match="packet 0, padding: expected zero behind"):
            decode_weights(b"".join([spoilt(first, at, 1), *rest]), **job)
    weights = 32 + 16 * -(-first[12] // 16)     # behind the masks; a column has three bytes
    assert first[weights + 2] >> 4 == 0
    with pytest.raises(InputError, match="packet 0, padding: expected zero behind"):
        decode_weights(b"".join([spoilt(first, weights + 2, 0x10 | first[weights + 2]), *rest]),
                       **job)


def test_headers_that_claim_more_than_there_is_allocate_nothing():
    _, stream, job = stream_of("straddling", 8)
    huge = {**job, "inputs": 65535, "cols": 255}
    head = bytearray(stream[:16])
    head[4], head[6:8], head[10:14] = 255, b"\xff\xff", b"\xff\xff\x00\x20"
    with pytest.raises(InputError, match="weights_early_last: expected 16722736 bytes, found 16"):
        decode_weights(bytes(head), **huge)
