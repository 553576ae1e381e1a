import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim import build as module
from sparseloom.sim.build import build_simulator, cache_folder, tool_environment, unite
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.run import run_bench


@pytest.fixture
def verilog(tmp_path):
    path = tmp_path / "sparseloom.v"
    path.write_text("module sparseloom; endmodule\n")
    return path


@pytest.fixture
def compiled(monkeypatch):
    """Counts compilations instead of doing them."""
    calls = []

    def compile_(part, verilog, bus_bytes, waves, environment, log, runtime, bench,
                 verilator_flags, flags, python, main):
        calls.append((bus_bytes, waves, threading.get_ident()))
        (part / "bench").write_text(f"{bus_bytes} {waves}")

    monkeypatch.setattr(module, "_compile", compile_)
    return calls


def test_second_time_from_the_cache(verilog, compiled, tmp_path):
    one = build_simulator(verilog, bus_bytes=8, cache=tmp_path / "cache")
    two = build_simulator(verilog, bus_bytes=8, cache=tmp_path / "cache")
    assert (one.cached, two.cached) == (False, True)
    assert one.folder == two.folder and (one.folder / "bench").read_text() == "8 False"
    assert len(compiled) == 1


def test_what_changes_the_simulator_changes_the_key(verilog, compiled, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    folders = {build_simulator(verilog, bus_bytes=8, cache=cache).folder,
               build_simulator(verilog, bus_bytes=4, cache=cache).folder,
               build_simulator(verilog, bus_bytes=8, waves=True, cache=cache).folder,
               build_simulator(verilog, bus_bytes=8, long_run=True, cache=cache).folder}
    folders.add(build_simulator(verilog, bus_bytes=8, python=False, cache=cache).folder)
    folders.add(build_simulator(verilog, bus_bytes=8, coverage=True, cache=cache).folder)
    monkeypatch.setattr(module, "COMPILER_FLAGS", ("OPT_FAST=-O3",))
    folders.add(build_simulator(verilog, bus_bytes=8, cache=cache).folder)
    monkeypatch.setattr(module, "_versions", lambda: {"verilator": "9"})
    folders.add(build_simulator(verilog, bus_bytes=8, cache=cache).folder)
    monkeypatch.setattr(module, "UNITY_BYTES", 0)
    folders.add(build_simulator(verilog, bus_bytes=8, cache=cache).folder)
    verilog.write_text("module sparseloom; wire a; endmodule\n")
    folders.add(build_simulator(verilog, bus_bytes=8, cache=cache).folder)
    other = tmp_path / "other_bench.v"
    other.write_text("module bench; endmodule\n")
    folders.add(build_simulator(verilog, bus_bytes=8, cache=cache, bench=other).folder)
    assert len(folders) == len(compiled) == 11


def test_at_the_same_time(verilog, compiled, tmp_path):
    with ThreadPoolExecutor(8) as pool:
        builds = list(pool.map(lambda _: build_simulator(verilog, bus_bytes=8,
                                                         cache=tmp_path / "cache"), range(16)))
    assert len(compiled) == 1
    assert len({build.folder for build in builds}) == 1
    assert sum(not build.cached for build in builds) == 1


def test_a_half_finished_build_is_not_taken(verilog, tmp_path, monkeypatch):
    def broken(part, *_):
        (part / "bench").write_text("half")
        raise SimulationError("the compiler was stopped")

    monkeypatch.setattr(module, "_compile", broken)
    cache = tmp_path / "cache"
    with pytest.raises(SimulationError, match="stopped"):
        build_simulator(verilog, bus_bytes=8, cache=cache)
    assert not [path for path in cache.iterdir() if path.is_dir()]


def test_refused_verilog_names_the_log(verilog, tmp_path):
    verilog.write_text("module sparseloom; nonsense\n")
    with pytest.raises(SimulationError, match=r"verilator failed with code 1 on .*sparseloom\.v; "
                                              r"its messages are in ") as caught:
        build_simulator(verilog, bus_bytes=8, cache=tmp_path / "cache")
    log = Path(str(caught.value).rsplit(" ", 1)[1])
    assert "syntax error" in log.read_text()


def test_a_small_simulator_is_one_file_and_a_large_one_is_not(tmp_path, monkeypatch):
    for name in ("Vtop.cpp", "Vtop__Syms__Slow.cpp", "Vtop___024root__0.cpp"):
        (tmp_path / name).write_text("int x;\n")
    found = unite(tmp_path, tmp_path / "main.cpp")
    assert found == ["VM_PARALLEL_BUILDS=0", "VM_USER_CLASSES="]
    all_ = (tmp_path / "Vtop__ALL.cpp").read_text()
    fast, slow = all_.split('#pragma GCC optimize ("O0")')
    assert fast.count("#include") == 3 and f'"{tmp_path / "main.cpp"}"' in fast
    assert slow.count("#include") == 1 and '"Vtop__Syms__Slow.cpp"' in slow
    (tmp_path / "Vtop__ALL.cpp").unlink()
    monkeypatch.setattr(module, "UNITY_BYTES", 20)
    assert unite(tmp_path, tmp_path / "main.cpp") == []
    assert not (tmp_path / "Vtop__ALL.cpp").exists()


def test_no_verilog(tmp_path):
    with pytest.raises(InputError, match="expected a Verilog file, found none"):
        build_simulator(tmp_path / "none.v", bus_bytes=8, cache=tmp_path)


@pytest.mark.parametrize("tool", ["g++", "make", "perl"])
def test_missing_tools_are_named(tool, monkeypatch):
    monkeypatch.setattr(module.shutil, "which", lambda name: None if name == tool else name)
    with pytest.raises(InputError) as caught:
        tool_environment()
    assert str(caught.value) == (f"{tool}: expected on the path, found none (install {tool})")


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPARSELOOM_CACHE", raising=False)
    assert cache_folder() == tmp_path / "build" / "sim-cache"
    monkeypatch.setenv("SPARSELOOM_CACHE", str(tmp_path / "elsewhere"))
    assert cache_folder() == tmp_path / "elsewhere"


def test_a_simulator_that_dies(tmp_path):
    program = tmp_path / "build" / "bench"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho no licence\nexit 3\n")
    program.chmod(0o755)
    build = module.Build(folder=program.parent, waves=False, cached=True)
    with pytest.raises(SimulationError, match=r"ended without results; .* run it again: python"):
        run_bench(build, tmp_path / "run", module="sparseloom.sim.tb_layer")
    assert "no licence" in (tmp_path / "run" / "log.txt").read_text()
