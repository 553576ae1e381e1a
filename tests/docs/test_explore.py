"""The page of the exploration quotes what is in the files."""
import json
from pathlib import Path

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.resources import FILE, FITTED, resource_model

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/explore.md").read_text()
LABELS = dict(zip(FITTED, ("LUT4", "COMB", "FF"), strict=True))


def test_errors_of_the_resource_model():
    model = json.loads(FILE.read_text())
    held = [row["row"].replace("-b32", ", 32-bit streams").replace("x", " × ")
            for row in model["held_out"]]
    assert "| | " + " | ".join([f"{len(model['builds'])} builds, each left out once, largest",
                                *(f"{name}, held out" for name in held)]) + " |" in PAGE
    for kind, label in LABELS.items():
        left_out = max(abs(row["left_out"][kind]) for row in model["builds"])
        cells = [f"{left_out:.1%}", *(f"{row['error'][kind]:+.1%}" for row in model["held_out"])]
        assert f"| {label} | {' | '.join(cells)} |" in PAGE, "the page is of another fit"


def test_the_reference_builds_placed_fit():
    fits = json.loads((ROOT / "bench/results/fit.json").read_text())["rows"]
    placed = next(fit for fit in fits if fit["row"] == "12x12-85k-ecp5")
    assert placed["row"] not in {row["row"] for row in json.loads(FILE.read_text())["builds"]}
    found = resource_model().estimate(ArrayConfig(**placed["config"]))
    assert (found.dsp, found.bram) == (placed["dsp"], placed["bram"])
    assert (f"{placed['comb']:,} COMB and {placed['ff']:,} FF, the model says {found.comb:,} and "
            f"{found.ff:,}") in " ".join(PAGE.split())


def test_points_a_minute():
    found = json.loads((ROOT / "bench/results/explore.json").read_text())
    assert found["balanced"]["holds"]
    dask, norms = found["balanced"]["dask"], found["norms"]["dask"]
    told = (f"{dask['points']:,} points took {dask['cpu_seconds']:.0f} s of processor time in all "
            f"processes: {dask['points_per_minute_by_cpu']:,} points a minute of two cores, and "
            f"{dask['points_per_minute']:,} by the clock")
    assert told in " ".join(PAGE.split())
    assert f"{norms['points_per_minute']:,} points a minute by the clock." in " ".join(PAGE.split())
