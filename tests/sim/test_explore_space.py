import pytest

from sparseloom.hw.devices import DEVICES, cell_multipliers
from sparseloom.model.errors import InputError
from sparseloom.sim.explore import space as module
from sparseloom.sim.explore.space import Axes, fitting_builds
from tests.sim.explorations import AXES, MODEL

ARRAYS = tuple((rows, cols) for rows in (1, 4, 7, 16) for cols in (2, 5, 16, 24))


def test_builds_are_every_combination_for_the_models_inputs():
    builds = list(AXES.builds(60))
    assert len(builds) == len(set(builds)) == 2 * 2 * 2 * 2
    assert {config.max_k for config in builds} == {1536}
    large = list(AXES.builds(9000))
    assert {(config.max_k, config.act_words) for config in large} == {(9000, 9000)}
    assert {config.target for config in builds} == {"ecp5"}
    assert len(AXES.prunings()) == 2 * 2 * 3


def test_lanes_that_do_not_divide_the_rows_are_left_out():
    axes = Axes(arrays=((2, 3), (8, 3), (9, 3)), lanes=(None, 2, 3, 4))
    assert {(config.rows, config.post_lanes) for config in axes.builds(10)} == {
        (2, 2), (8, 4), (8, 2), (9, 3)}


@pytest.mark.parametrize("device", list(DEVICES))
@pytest.mark.parametrize("fill", [0.4, 1.0])
def test_what_is_left_fits_the_device_and_what_is_not_does_not(device, fill):
    axes = Axes(arrays=ARRAYS, weight_bits=(8, 4), act_words=(2048, 8192, 32768))
    limits = DEVICES[device]
    builds, refused = fitting_builds(axes, 64, limits, MODEL, fill)
    assert builds and refused
    left = {config for config, _ in builds}
    for config in axes.builds(64):
        if config.act_words > 16384:
            assert config not in left, "no memory is that deep"
            continue
        found = MODEL.estimate(config)
        fits = (found.comb <= fill * limits.lut4 and found.ff <= fill * limits.ff
                and found.dsp <= limits.dsp and found.bram <= limits.bram)
        assert fits == (config in left)
        assert found.dsp == cell_multipliers(config) + 2 * config.post_lanes
    assert refused["memory depth"] == len(ARRAYS) * 2
    assert refused["MULT18X18D"] > 0


@pytest.mark.parametrize(("changes", "says"), [
    ({"arrays": ()}, "arrays: expected a value or more, found none"),
    ({"compressions": ()}, "compressions: expected a value or more, found none")])
def test_empty_axes(changes, says):
    with pytest.raises(InputError, match=f"^{says}$"):
        Axes(**{"arrays": ((2, 2),), **changes})


def test_too_many_combinations(monkeypatch):
    monkeypatch.setattr(module, "MOST", 10)
    with pytest.raises(InputError, match=r"^axes: expected at most 10 combinations, found 16$"):
        Axes(arrays=((2, 2), (3, 3), (4, 4), (5, 5)))
    assert len(list(Axes(arrays=((2, 2),) * 9, compressions=(1.0,)).builds(1))) == 1


@pytest.mark.parametrize(("axes", "says"), [
    (Axes(arrays=((40, 2),)), "rows must be an integer in 1..32, not 40"),
    (Axes(arrays=((2, 2),), bus_bits=(48,)), "bus_bits must be one of 32, 64, 128, not 48"),
    (Axes(arrays=((2, 2),), weight_bits=(3,)), "weight_bits must be one of 8, 4, not 3")])
def test_values_that_no_build_has(axes, says):
    with pytest.raises(InputError, match=f"^{says}$"):
        list(axes.builds(10))
