"""Pages say what is there: links, files, make targets, commands, decisions."""
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"),
                *(ROOT / "bench").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)[^)]*\)")
ROOMS = ("model", "hw", "sim", "tests", "docs", "tools", "bench")
SOURCE = re.compile(rf"`((?:{'|'.join(ROOMS)})/[\w./-]+\.\w+)`")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_and_files_are_there(page):
    text = page.read_text()
    missing = [link for link in LINK.findall(text) if not (page.parent / link).exists()]
    missing += [file for file in SOURCE.findall(text) if not (ROOT / file).exists()]
    assert not missing


def test_architecture_places_every_source():
    text = (ROOT / "docs/architecture.md").read_text()
    sources = {str(path.relative_to(ROOT)) for room in ("model", "hw", "sim")
               for path in (ROOT / room).rglob("*.py") if path.name != "__init__.py"}
    assert sources <= set(SOURCE.findall(text))


def commands(page: str, program: str) -> list[list[str]]:
    """Lines of a page's shell examples that start a program, in words, comments dropped."""
    blocks = re.findall(r"^```(?:sh|console|bash)\n(.*?)^```", (ROOT / page).read_text(),
                        re.MULTILINE | re.DOTALL)
    lines = [line.strip().removeprefix("$ ") for block in blocks for line in block.splitlines()]
    return [line.split("#")[0].split() for line in lines if line.startswith(program + " ")]


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_make_targets_exist(page):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    used = [words[1] for words in commands(page, "make")]
    assert {"demo", "test"} & set(used)
    assert set(used) <= targets


COMMANDS = sorted({tuple(word for word in words[1:])
                   for page in ("README.md", "CONTRIBUTING.md")
                   for words in commands(page, "sparseloom")})


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_and_their_options_exist(words):
    from typer.main import get_command

    from sparseloom.sim.console import app

    command = get_command(app)
    rest = list(words)
    while rest and hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]  # type: ignore[attr-defined]
    options = {option for parameter in command.params for option in parameter.opts}
    options |= {option for parameter in command.params for option in parameter.secondary_opts}
    used = {word.split("=")[0] for word in rest if word.startswith("-")} - {"--help"}
    assert used <= options


def test_readme_shows_commands():
    assert {words[0] for words in COMMANDS} >= {"model", "hw", "sim", "demo"}


def test_console_starts():
    done = subprocess.run([sys.executable, "-m", "sparseloom.sim.console", "--help"],
                          capture_output=True, text=True, check=True)
    assert "demo" in done.stdout


def test_decisions_are_numbered_once():
    numbers = [page.name.split("-")[0] for page in (ROOT / "docs/decisions").glob("*.md")]
    assert sorted(numbers) == [f"{i:04}" for i in range(1, len(numbers) + 1)]


def test_changelog_has_this_version():
    import tomllib
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(rf"^## \[({re.escape(version)}|Unreleased)\]", text, re.MULTILINE)


def test_readme_quotes_the_recorded_demo():
    report = json.loads((ROOT / "bench/results/demo.json").read_text())
    text = (ROOT / "README.md").read_text()
    for layer in report["layers"]:
        assert (f"| {layer['density']:.3f} | {layer['ideal_cycles']:,} | {layer['cycles']:,} | "
                f"{layer['utilisation']:.3f} | {layer['speedup_vs_dense']:.2f}× | "
                f"{layer['speedup_over_compression']:.3f} | {layer['outputs']:,} | "
                f"{layer['mismatches']} |") in text
    for name, value in report["score"].items():
        assert f"{name} {100 * value:.1f}" in text
    assert f"{report['stored_bits_per_weight']:.2f} bits stored" in text
    words, whole = " ".join(text.split()), report["whole"]
    assert f"{report['seconds']:.0f} seconds on two cores" in words
    assert (f"{whole['dense']['cycles']:,} cycles unpruned, {whole['pruned']['cycles']:,} pruned"
            ) in words
    assert (f"{whole['dense']['outputs'] + whole['pruned']['outputs']:,} integers compared with "
            "the oracle, none differs") in words
    sentence = report["sentence"]
    assert report["exact"] and f"its {sentence['products']} products" in words
    assert f"in {sentence['sentences'][0]['seconds']:.1f} seconds" in words


def test_the_recorded_regression_is_whole():
    found = json.loads((ROOT / "bench/results/regress.json").read_text())
    assert found["empty_bins"] == found["failures"] == [] and found["results"] >= 10**7


def test_every_page_has_its_place_on_the_site():
    """`make docs` ends at a page that is in no table of contents; this says it sooner."""
    docs = ROOT / "docs"
    index = (docs / "index.md").read_text()
    named = set(re.findall(r"^([\w/-]+)$", index, re.MULTILINE))
    for page in docs.glob("*.md"):
        assert page.stem in named | {"index"}, f"{page.name}: not in docs/index.md"
    assert "decisions/*" in index
    assert all((docs / f"{name}.md").is_file() or name.startswith("reference/") for name in named)
