import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.registers import (
    ADDR_BITS,
    REGISTERS,
    Access,
    Field,
    Register,
    build_values,
    check_registers,
)
from sparseloom.model.packed import spec

# The contract with software, written out a second time on purpose: offset, access, fields.
CONTRACT = """
00 ID R value:0:32
04 VERSION R patch:0:8 minor:8:8 major:16:8 stream_version:24:8
08 GEOMETRY R rows:0:8 cols:8:8 block_inputs:16:8 weight_bits:24:8
0C BUILD R bus_bytes:0:8 lanes:8:8 queue_depth:16:8
10 MAX_K R value:0:32
14 ACT_WORDS R value:0:32
18 STATUS R busy:0:1 error:1:1 clearing:2:1 queue_space:8:8 outstanding:16:8
1C CONTROL W clear:0:1 counters_clear:1:1
20 JOB_SHAPE RW inputs:0:16 outputs:16:16
24 JOB_TOKENS RW tokens:0:16 tag:16:8
28 JOB_CONFIG RW zero_point:0:8 raw:8:1 lut:9:1
2C JOB_PUSH W
30 DONE R tag:0:8 count:16:16
34 ERROR R cause:0:8 strip:16:16
38 IRQ_STATUS RW1C done:0:1 error:1:1 space:2:1
3C IRQ_MASK RW done:0:1 error:1:1 space:2:1
40 BUSY R value:0:32
44 ACTIVE R value:0:32
48 STALL_WEIGHTS R value:0:32
4C STALL_ACTS R value:0:32
50 STALL_RESULTS R value:0:32
54 OTHER R value:0:32
"""


def test_table_is_the_contract():
    lines = [" ".join([f"{register.offset:02X} {register.name} {register.access.value}",
                       *(f"{field.name}:{field.low}:{field.width}" for field in register.fields)])
             for register in REGISTERS]
    assert lines == CONTRACT.strip().splitlines()


def test_every_register_and_field_is_explained():
    for register in REGISTERS:
        assert register.doc.endswith("."), register.name
        assert all(field.doc and not field.doc.endswith(".") for field in register.fields)


def test_fields_are_found_by_name():
    status = next(register for register in REGISTERS if register.name == "STATUS")
    assert status.field("queue_space").mask == 0xFF00
    with pytest.raises(KeyError, match="STATUS has no field 'colour'"):
        status.field("colour")


def test_build_values_fit_their_fields():
    config = ArrayConfig(rows=32, cols=32, max_k=32768, act_words=1 << 20, bus_bits=128, lanes=32)
    values = build_values(config)
    for name, fields in values.items():
        register = next(entry for entry in REGISTERS if entry.name == name)
        assert set(fields) == {field.name for field in register.fields}
        for field in register.fields:
            assert 0 <= fields[field.name] < 1 << field.width
    assert values["GEOMETRY"] == {"rows": 32, "cols": 32, "block_inputs": 16, "weight_bits": 8}
    assert values["VERSION"]["stream_version"] == spec.STREAM_VERSION


def make(offset=0, name="A", access=Access.R, fields=((0, 8),), refusable=False, bank=""):
    return Register(name=name, offset=offset, access=access, doc="", refusable=refusable,
                    bank=bank,
                    fields=tuple(Field(name=f"f{index}", low=low, width=width, doc="")
                                 for index, (low, width) in enumerate(fields)))


@pytest.mark.parametrize(("table", "message"), [
    ([make(), make(offset=4)], "register A is there twice"),
    ([make(), make(name="B")], "B: offset 0x00 is taken"),
    ([make(offset=2)], "A: offset must be a multiple of 4 below 0x100, not 0x2"),
    ([make(offset=256)], "not 0x100"),
    ([make(fields=[(0, 8), (7, 2)])], r"A\.f1: overlaps another field"),
    ([make(fields=[(31, 2)])], r"A\.f0: bits must lie in 0\.\.31"),
    ([make(access=Access.RW1C)], r"A\.f0: a field of RW1C is one bit"),
    ([make(bank="x"), make(name="B", offset=8, bank="x")], "bank x: must be R registers"),
    ([make(offset=4, bank="x"), make(name="B", offset=8, bank="x")], "from a multiple of 8"),
    ([make(access=Access.RW, bank="x")], "bank x: must be R registers"),
    ([make(refusable=True)], "A: only a W register may refuse a write"),
])
def test_refuses_a_bad_table(table, message):
    with pytest.raises(ValueError, match=message):
        check_registers(table, addr_bits=ADDR_BITS)
