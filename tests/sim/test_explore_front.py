from hypothesis import example, given
from hypothesis import strategies as st

from sparseloom.sim.explore.front import pareto_front

NUMBERS = st.one_of(st.integers(-3, 3).map(float), st.floats(allow_nan=False))
TABLES = st.integers(1, 5).flatmap(
    lambda width: st.lists(st.tuples(*[NUMBERS] * width), max_size=40))


def dominates(one, other):
    return all(a <= b for a, b in zip(one, other, strict=True)) and one != other


@given(TABLES)
@example([(0.0, 1.0), (-0.0, 1.0), (0.0, 2.0)])
@example([(1.0,), (1.0,)])
@example([(float("inf"), 1.0), (float("inf"), 0.0)])
def test_front_is_what_nothing_dominates(points):
    wanted = [index for index, point in enumerate(points)
              if not any(dominates(other, point) for other in points)]
    assert pareto_front(points) == wanted


def test_many_points_of_one_front():
    points = [(index, 500 - index) for index in range(500)]
    assert pareto_front(points) == list(range(500))
    assert pareto_front([]) == []
