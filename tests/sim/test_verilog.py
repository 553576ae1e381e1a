"""When the unit's Verilog is generated, and when it is kept."""
import ast
import json
from pathlib import Path

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.generate import FILES
from sparseloom.model.errors import InputError
from sparseloom.sim import verilog as module
from sparseloom.sim.verilog import VERILOG, unit_verilog, write_unit

ROOT = Path(__file__).parents[2]
CONFIG = ArrayConfig(rows=2, cols=2)


@pytest.fixture
def generated(monkeypatch):
    """Counts calls of the generator, and forgets like a new process does."""
    calls = []

    def generate(config, folder):
        calls.append(config)
        folder.mkdir()
        (folder / VERILOG).write_text(f"module {config.rows}")

    monkeypatch.setattr("sparseloom.hw.generate.generate", generate)
    monkeypatch.setattr(module, "_known", {})
    return calls


def forget(monkeypatch):
    monkeypatch.setattr(module, "_known", {})


def test_once_for_each_build_and_process(generated, tmp_path):
    other = ArrayConfig(rows=3, cols=3)
    paths = [unit_verilog(config, tmp_path) for config in (CONFIG, other, CONFIG)]
    assert generated == [CONFIG, other] and paths[0] == paths[2] != paths[1]
    assert paths[1].read_text() == "module 3"


def test_the_next_process_finds_it(generated, tmp_path, monkeypatch):
    path = unit_verilog(CONFIG, tmp_path)
    forget(monkeypatch)
    assert unit_verilog(CONFIG, tmp_path) == path and len(generated) == 1
    forget(monkeypatch)
    path.unlink()
    path.parent.rmdir()
    assert unit_verilog(CONFIG, tmp_path).is_file() and len(generated) == 2


def test_what_a_user_gets_is_what_is_simulated(tmp_path):
    config = ArrayConfig(rows=1, cols=1, max_k=1, act_words=1, bus_bits=32, queue_depth=1)
    files = write_unit(config, tmp_path / "new" / "rtl")
    assert [file.name for file in files] == list(FILES)
    assert files[0].read_bytes() == unit_verilog(config).read_bytes()
    assert json.loads((files[0].parent / "manifest.json").read_text())["config"] == config.to_dict()
    files[0].write_text("old")
    write_unit(config, files[0].parent)
    assert files[0].read_bytes() == unit_verilog(config).read_bytes()
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"taken/rtl: expected room to write, found: "):
        write_unit(config, tmp_path / "taken" / "rtl")


@pytest.mark.parametrize("what", ["source", "package"])
def test_what_the_verilog_follows_from(generated, tmp_path, monkeypatch, what):
    unit_verilog(CONFIG, tmp_path)
    forget(monkeypatch)
    if what == "source":
        monkeypatch.setattr(module, "SOURCES", (*module.SOURCES, "model/budget.py"))
    else:
        monkeypatch.setattr(module, "package_version", lambda package: "9")
    unit_verilog(CONFIG, tmp_path)
    assert len(generated) == 2


def test_every_source_of_the_unit_counts():
    """``hw`` imports nothing of the other rooms that is not among the sources."""
    counted = {path for pattern in module.SOURCES for path in ROOT.glob(pattern)}
    for path in ROOT.glob("hw/*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = ([node.module] if isinstance(node, ast.ImportFrom) and node.module else
                     [alias.name for alias in node.names] if isinstance(node, ast.Import) else [])
            for name in names:
                if name.startswith("sparseloom."):
                    file = ROOT.joinpath(*name.split(".")[1:])
                    assert file.is_dir() or file.with_suffix(".py") in counted, (path, name)
