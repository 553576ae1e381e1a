import pytest

from bench.answers import compact, expand


@pytest.mark.parametrize(("found", "stored", "back"), [
    ([0.0, 1.0, 2.0], "012", [0, 1, 2]),
    ([0.12345678, 4.0], [0.1235, 4.0], [0.1235, 4.0]),
    ([10.0, 1.0], [10.0, 1.0], [10, 1]),
    ([-1.0, 1.0], [-1.0, 1.0], [-1, 1]),
    ([], "", []),
])
def test_there_and_back(found, stored, back):
    assert compact(found) == stored
    assert expand(stored) == back
