"""Clusters of real processes: nothing is lost, and the results are those of one process."""
import os
import signal

import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.explore import farm as module
from sparseloom.sim.explore.farm import Dask, Serial, open_farm
from sparseloom.sim.explore.run import CHUNK, explore
from sparseloom.sim.explore.store import PointStore
from tests.sim.dask_cluster import dask_processes
from tests.sim.explorations import lines, question


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    return explore(question(), Serial(), PointStore(tmp_path_factory.mktemp("serial")))


class Told(PointStore):
    """Calls a function once some points were added."""

    def __init__(self, folder, function):
        super().__init__(folder)
        self.function = function

    def add(self, records):
        super().add(records)
        if self.function is not None:
            function, self.function = self.function, None
            function()


def test_a_worker_killed_in_mid_run_loses_nothing(serial, tmp_path):
    assert serial.computed >= 8 * CHUNK, "enough for both workers and after"
    with dask_processes(tmp_path, 2) as cluster, open_farm(scheduler=cluster.address) as farm:
        assert isinstance(farm, Dask)
        farm.client.wait_for_workers(2)
        at_kill = []

        def kill():
            had = farm.client.processing()
            os.kill(cluster.workers[0].pid, signal.SIGKILL)
            at_kill.append([len(tasks) for tasks in had.values()])

        found = explore(question(), farm, Told(tmp_path / "keep", kill))
        assert cluster.workers[0].wait(10) == -signal.SIGKILL
        assert len(farm.client.nthreads()) == 1
        assert len(at_kill[0]) == 2 and min(at_kill[0]) > 0, "both were at work"
        assert found.points == serial.points and found.front == serial.front
        assert found.computed == serial.computed == len(lines(tmp_path / "keep"))
        again = explore(question(), farm, PointStore(tmp_path / "keep"))
        assert again.computed == 0 and again.points == serial.points


def test_a_local_cluster_finds_what_one_process_finds(serial, tmp_path):
    with open_farm(workers=2) as farm:
        assert isinstance(farm, Dask) and len(farm.client.nthreads()) == 2
        found = explore(question(), farm, PointStore(tmp_path))
        assert found.points == serial.points and found.front == serial.front
        assert list(farm.results(blocks_interrupts, [0])) == [True], "Ctrl-C is for this process"
        assert not blocks_interrupts(0)
        with pytest.raises(SimulationError, match=r"^a worker failed: ValueError: no number: 7$"):
            list(farm.results(fail, [7]))
        with pytest.raises(InputError, match=r"^wrong: 3$"):
            list(farm.results(refuse, [3]))
        with pytest.raises(SimulationError, match=r"^a worker cannot import Sparseloom \(No modul"):
            list(farm.results(fail_to_import, [0]))


def blocks_interrupts(number):
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def fail(number):
    raise ValueError(f"no number: {number}")


def refuse(number):
    raise InputError(f"wrong: {number}")


def fail_to_import(number):
    import sparseloom.nowhere  # pyright: ignore[reportMissingImports]  # noqa: F401


def end_the_process(number):
    os._exit(9)


def test_points_that_kill_every_worker_are_told(tmp_path):
    says = "every worker that was given the same points died, 1 in all; what was finished is kept"
    with dask_processes(tmp_path, 1, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="0",
                        ) as cluster, open_farm(scheduler=cluster.address) as farm, \
            pytest.raises(SimulationError, match=says):
        list(farm.results(end_the_process, [1]))


def test_a_scheduler_that_dies_is_told_and_loses_nothing(tmp_path, capfd):
    says = "^the Dask cluster went away; what was finished is kept"
    with dask_processes(tmp_path, 1) as cluster, pytest.raises(SimulationError, match=says), \
            open_farm(scheduler=cluster.address) as farm:
        explore(question(), farm, Told(tmp_path / "keep", cluster.scheduler.kill))
    assert len(lines(tmp_path / "keep")) >= CHUNK
    assert capfd.readouterr() == ("", "")


def test_a_scheduler_that_is_not_there(monkeypatch):
    monkeypatch.setattr(module, "CONNECT_SECONDS", 0.2)
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1:-5"):
        with pytest.raises(InputError) as caught, open_farm(scheduler=address):
            pass
        assert str(caught.value).startswith(
            f"--scheduler: expected a Dask scheduler at {address}, found: ")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("settings", "says"), [
    ({"workers": -1}, "--workers: expected 0 or more, found -1"),
    ({"workers": 2, "scheduler": "tcp://127.0.0.1:9"},
     "--workers: expected none beside --scheduler, whose cluster has its own, found 2")])
def test_settings_that_make_no_sense(settings, says):
    with pytest.raises(InputError, match=f"^{says}$"), open_farm(**settings):
        pass


def test_one_process_keeps_the_order():
    with open_farm(workers=0) as farm:
        assert isinstance(farm, Serial)
        assert list(farm.results(abs, [-3, 2, -1])) == [3, 2, 1]
