"""Pictures of a report: those whose sections are there, none too large."""
from pathlib import Path

import pytest
from PIL import Image

from bench.screenshots import MOST_BYTES, SHOTS, main
from sparseloom.sim.page.report import Sources, write_report
from tests.sim.browser import find_programs
from tests.sim.receipts import explore_report, write

IMAGES = Path(__file__).parents[2] / "docs/images"


def test_sections_without_data_have_no_picture(tmp_path, capsys):
    find_programs()
    explored = write(tmp_path / "explore.json", explore_report())
    write_report(tmp_path / "report.html", Sources(explore=explored))
    assert main([str(tmp_path / "report.html"), "-o", str(tmp_path / "images")]) == 0
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["front.png"]
    told = capsys.readouterr().out.splitlines()
    assert len(told) == len(SHOTS) and sum("left out" in line for line in told) == len(SHOTS) - 1
    with Image.open(tmp_path / "images/front.png") as image:
        assert image.width == 1000 and len(image.convert("RGB").getcolors(1 << 20) or ()) > 20


def test_no_report(tmp_path, capsys):
    assert main([str(tmp_path / "absent.html")]) == 2
    assert "expected the page of 'sparseloom report', found no file" in capsys.readouterr().err


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.png")), ids=lambda path: path.name)
def test_committed_pictures_are_small_and_whole(path):
    assert path.stat().st_size <= MOST_BYTES and path.stem in {shot.name for shot in SHOTS}
    with Image.open(path) as image:
        assert image.convert("RGB").getextrema() != ((0, 0),) * 3
