"""The project as a whole: what is installed, who imports whom, what set-up refuses."""
import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import PackageNotFoundError, version
from importlib.util import resolve_name
from pathlib import Path

import pytest

from sparseloom.model.tasks import KINDS

ROOT = Path(__file__).parents[1]
ROOMS = ("model", "hw", "sim")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("sparseloom", *(part for part in parts if part != "__init__")))


def imports(path: Path) -> set[str]:
    """Absolute names that a file imports, anywhere in it."""
    package = module_name(path.parent / "__init__.py")
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            found |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("path", SOURCES, ids=module_name)
def test_rooms_import_only_what_they_may(path):
    names = imports(path)
    room = path.relative_to(ROOT).parts[0]
    forbidden = {"tests", *ROOMS}  # the rooms by their folder's name would not exist once installed
    if room != "sim":
        forbidden |= {"sparseloom.sim", "cocotb", "cocotbext"}
    if room == "hw":
        forbidden |= {"torch", "transformers"}
    if room == "model":
        forbidden |= {"sparseloom.hw", "amaranth"}
    if within(module_name(path), "sparseloom.model.packed"):
        forbidden |= {"torch", "transformers"}
    assert not {name for name in names for bad in forbidden if within(name, bad)}


@pytest.mark.parametrize("path", [p for p in SOURCES if p.relative_to(ROOT).parts[0] == "hw"],
                         ids=module_name)
def test_hardware_keeps_its_annotations(path):
    # It turns the annotated ports of a component into strings, which Amaranth does not read.
    assert "annotations" not in {
        alias.name for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "__future__" for alias in node.names}


@pytest.mark.parametrize(("modules", "absent"), [
    (("sparseloom.model", "sparseloom.model.packed.artefact", "sparseloom.model.packed.stream",
      "sparseloom.model.packed.cycles", "sparseloom.model.config", "sparseloom.model.reference"),
     ("torch", "transformers", "amaranth", "cocotb")),
    (("sparseloom.hw.config", "sparseloom.hw.generate"), ("torch", "transformers", "cocotb")),
    (("sparseloom.sim.console",), ("torch", "transformers")),
    (("sparseloom.sim.receipt.cli", "sparseloom.sim.page.cli"),
     ("torch", "transformers", "plotly", "amaranth")),
])
def test_light_imports_stay_light(modules, absent):
    code = (f"import sys, {', '.join(modules)}\n"
            f"print([name for name in {absent!r} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_package_is_listed():
    there = {module_name(path) for path in SOURCES if path.name == "__init__.py"}
    folders = {module_name(path.parent / "__init__.py") for path in SOURCES}
    assert there == folders, "a folder of sources without __init__.py"
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == there
    mapped = {name: folder.replace("/", ".")
              for name, folder in PROJECT["tool"]["setuptools"]["package-dir"].items()}
    assert mapped == {name: name.removeprefix("sparseloom.") for name in there}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
                    "--no-build-isolation", "--wheel-dir", out, source], check=True)
    return next(out.glob("*.whl"))


def test_wheel_holds_every_source_under_one_name(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name.split("/")[0] for name in names} == {
        "sparseloom", f"sparseloom-{PROJECT['project']['version']}.dist-info"}
    wanted = {f"sparseloom/{path.relative_to(ROOT)}" for path in SOURCES}
    wanted |= {f"sparseloom/{path.relative_to(ROOT)}" for room in ROOMS
               for path in (ROOT / room).rglob("*")
               if path.is_file() and "__pycache__" not in path.parts}
    assert wanted <= names


def test_wheel_imports(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    code = ("import sparseloom.model.packed.spec as spec, sparseloom.hw.config, "
            "sparseloom.sim.packages as packages\n"
            "print(spec.__file__, packages.REQUIREMENTS, packages.REQUIREMENTS.is_file())")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path)})
    file, requirements, there = done.stdout.split()
    assert Path(file).is_relative_to(tmp_path)
    assert Path(requirements).is_relative_to(tmp_path)
    assert there == "True"


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies() -> list[str]:
    project = PROJECT["project"]
    return [*project["dependencies"],
            *(name for extra in project["optional-dependencies"].values() for name in extra)]


def constraints() -> dict[str, str]:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines()
             if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", line) for line in lines)
    return {canonical(name): pin for name, pin in (line.split("==") for line in lines)}


def test_every_dependency_has_one_exact_version():
    pins = constraints()
    assert {canonical(name) for name in dependencies()} <= set(pins)


def test_installed_versions_are_the_pinned_ones():
    installed = {}
    for name in constraints():
        try:
            installed[name] = version(name).partition("+")[0]  # torch: 2.13.0+cpu
        except PackageNotFoundError:
            continue
    assert "torch" in installed
    assert installed == {name: pin for name, pin in constraints().items() if name in installed}


def test_every_dependency_says_why():
    text = (ROOT / "pyproject.toml").read_text()
    for name in dependencies():
        assert re.search(rf'^    "{re.escape(name)}", +# \w', text, re.MULTILINE), name


def host(tmp_path: Path, *tools: str) -> subprocess.CompletedProcess:
    """tools/check_host.sh on a machine that has only these tools."""
    path = tmp_path / "bin"
    path.mkdir()
    for tool in tools:
        there = sys.executable if tool == "python3" else shutil.which(tool)
        assert there, tool
        script = path / tool
        script.write_text(f'#!/bin/sh\nexec {there} "$@"\n')
        script.chmod(0o755)
    return subprocess.run(["/bin/sh", ROOT / "tools/check_host.sh", "python3"],
                          env={"PATH": str(path)}, capture_output=True, text=True, check=False)


def test_set_up_goes_on_where_all_is_there(tmp_path):
    done = host(tmp_path, "python3", "g++", "perl")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("tools", "says"), [
    (("python3", "perl"), "no C++ compiler 'g++': install the package g++"),
    (("python3", "g++"), "no 'perl' (Verilator is started by it): install the package perl"),
    (("g++", "perl"), "no 'python3': install Python 3.11 or newer"),
    (("python3",), "install the package g++; no 'perl'"),
])
def test_set_up_says_in_one_line_what_to_install(tmp_path, tools, says):
    done = host(tmp_path, *tools)
    assert done.returncode == 1
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_folder_with_a_space_is_refused(tmp_path):
    folder = tmp_path / "a b"
    folder.mkdir()
    done = subprocess.run(["/bin/sh", ROOT / "tools/check_host.sh", sys.executable], cwd=folder,
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the folder's path has a space" in done.stderr


def test_a_python_without_its_shared_library_is_refused_before_any_download(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import ctypes.util, sysconfig\n"
        "ctypes.util.find_library = lambda name: None\n"
        "sysconfig.get_config_var = lambda name: 'libpython3.a' if name == 'LDLIBRARY' else None\n")
    done = subprocess.run(["/bin/sh", ROOT / "tools/check_host.sh", sys.executable],
                          env={"PATH": os.environ["PATH"], "PYTHONPATH": str(tmp_path)},
                          capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "has no shared library, which the simulator loads: install the package " in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_old_python_is_refused(tmp_path):
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\n[ "$1" = -V ] && echo Python 3.9.2\nexit 1\n')
    old.chmod(0o755)
    done = subprocess.run(["/bin/sh", ROOT / "tools/check_host.sh", old], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 1
    assert "is Python 3.9.2: install Python 3.11 or newer" in done.stderr


def test_environment_belongs_to_its_folder(tmp_path):
    """A copied checkout must not use the environment of the folder it was copied from."""
    def stamp(folder: Path) -> str:
        done = subprocess.run(["make", "--no-print-directory", "-pn", "help"], cwd=folder,
                              capture_output=True, text=True, check=True)
        return next(line for line in done.stdout.splitlines() if line.startswith("READY := "))

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(ROOT / "Makefile", tmp_path / name)
    assert stamp(tmp_path / "one") != stamp(tmp_path / "two")
    assert stamp(tmp_path / "one") == stamp(tmp_path / "one")


@pytest.mark.parametrize(("given", "environment"), [
    ((), ""),
    (("INDEX_URL=https://index.example/simple",),
     "PIP_INDEX_URL=https://index.example/simple"),
    (("EXTRA_INDEX_URL=https://cpu.example/whl",),
     "PIP_EXTRA_INDEX_URL=https://cpu.example/whl https://mine.example"),
])
def test_package_index_reaches_pip(tmp_path, given, environment):
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "show.mk").write_text("include Makefile\nshow:\n\t@env | grep ^PIP_ || true\n")
    mine = {"PIP_EXTRA_INDEX_URL": "https://mine.example"} if "EXTRA" in environment else {}
    env = {name: value for name, value in os.environ.items()
           if not name.startswith(("PIP_", "MAKE", "MFLAGS"))}
    done = subprocess.run(["make", "-f", "show.mk", "--no-print-directory", "show", *given],
                          cwd=tmp_path, env=env | mine, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == environment


def test_make_knows_the_names_of_hub_tasks():
    line = re.search(r"^HUB_TASKS := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert line is not None
    assert line.group(1).split() == list(KINDS)
