# amaranth: UnusedElaboratable=no
import pytest

from sparseloom.hw.stream_break import StreamBreak
from tests.hw.passing import neither_side_sees_the_other, passes_all_in_order


@pytest.mark.parametrize("slow_source", [0.0, 0.6])
@pytest.mark.parametrize("slow_sink", [0.0, 0.6])
def test_passes_all_in_order(slow_source, slow_sink):
    passes_all_in_order(StreamBreak(9), slow_source, slow_sink)


def test_ready_and_output_come_from_registers():
    neither_side_sees_the_other(StreamBreak(4))
