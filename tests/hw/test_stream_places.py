# amaranth: UnusedElaboratable=no
import pytest

from sparseloom.hw.stream_places import StreamPlaces
from tests.hw.passing import neither_side_sees_the_other, passes_all_in_order


@pytest.mark.parametrize("slow_source", [0.0, 0.6])
@pytest.mark.parametrize("slow_sink", [0.0, 0.6])
def test_passes_all_in_order(slow_source, slow_sink):
    passes_all_in_order(StreamPlaces(9), slow_source, slow_sink)


def test_neither_side_sees_the_other_within_a_cycle():
    neither_side_sees_the_other(StreamPlaces(4))
