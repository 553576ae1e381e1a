from sparseloom.hw.clock import nearest_clock
from sparseloom.hw.config import ArrayConfig


def fit(name, mhz, *, device="85k", **changes):
    return {"name": name, "device": device, "mhz": mhz,
            "config": ArrayConfig(**{"target": "ecp5", **changes}).to_dict()}


FITS = [fit("small", 120.0, rows=4, cols=4, device="25k"), fit("large", 90.0),
        fit("four", 70.0, rows=12, cols=24, weight_bits=4),
        fit("generic", 200.0, rows=4, cols=4, target="generic"),
        fit("wide", 80.0, rows=4, cols=4, bus_bits=128)]


def nearest(device="85k", **changes):
    found = nearest_clock(ArrayConfig(**{"target": "ecp5", **changes}), device, FITS)
    assert found is not None
    return found.source, found.mhz


def test_the_fit_most_like_a_build():
    assert nearest() == ("large", 90.0)
    assert nearest(rows=8, cols=12) == ("large", 90.0)
    assert nearest(rows=4, cols=5, device="25k") == ("small", 120.0)
    assert nearest(rows=4, cols=4) == ("wide", 80.0), "the same device, a wider bus"
    assert nearest(rows=12, cols=20, weight_bits=4) == ("four", 70.0)
    assert nearest(rows=12, cols=24) == ("large", 90.0), "the first of equally near ones"


def test_without_a_fit_there_is_no_clock():
    assert nearest_clock(ArrayConfig(target="ecp5"), "85k", []) is None
    assert nearest_clock(ArrayConfig(), "85k", FITS[:3]) is None
