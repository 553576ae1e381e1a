# amaranth: UnusedElaboratable=no
import re

import pytest
from amaranth.hdl import Shape

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.top import Top
from sparseloom.hw.wrapper import CORE, FOLD, TOP, ports, wrapper_luts, wrapper_verilog


def small(**changes):
    return ArrayConfig(**{"rows": 2, "cols": 3, "max_k": 16, "act_words": 16, **changes})


@pytest.mark.parametrize("bus_bits", [32, 64, 128])
def test_ports_are_those_of_the_top(bus_bits):
    config = small(bus_bits=bus_bits)
    inputs, outputs = ports(config)
    assert not set(inputs) & set(outputs)
    wanted = {name: (member.flow.name, Shape.cast(member.shape).width)
              for name, member in Top(config).signature.members.items()}
    del wanted["aclk"]
    assert wanted == {name: ("In", width) for name, width in inputs.items()} | {
        name: ("Out", width) for name, width in outputs.items()}


def test_every_bit_is_driven_once_and_seen_once():
    config = small()
    text = wrapper_verilog(config)
    assert text.startswith(f"module {TOP}(input clk, input serial_in, output serial_out);")
    for vector, widths in zip(("shift_q", "results"), ports(config), strict=True):
        taken = []
        for name, width in widths.items():
            found = re.search(rf"\.{name}\({vector}\[(\d+):(\d+)\]\)", text)
            assert found
            high, low = map(int, found.groups())
            assert high - low + 1 == width
            taken += range(low, high + 1)
        assert taken == list(range(sum(widths.values())))
    seen = {}
    for level, _, source, high, low in re.findall(
            r"fold(\d+)_q\[(\d+)\] <= \^fold(\d+)_q\[(\d+):(\d+)\];", text):
        assert int(level) == int(source) + 1
        seen.setdefault(int(level), []).extend(range(int(low), int(high) + 1))
    width = sum(ports(config)[1].values())
    for level in sorted(seen):
        assert seen[level] == list(range(width))
        width = -(-width // FOLD)
    assert width == 1
    assert wrapper_luts(config) == len(re.findall(r"<= \^fold\d+_q\[(\d+):(?!\1\])", text))
    assert f" {CORE} (\n    .aclk(clk)," in text
