import os
import signal
import subprocess
import sys
from pathlib import Path

from bench.locks import locked

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from bench.locks import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_dead_process_keeps_no_lock(tmp_path):
    path = tmp_path / "folder/x.lock"
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], cwd=ROOT,
                              stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout and holder.stdout.readline() == "held\n"
        with locked(path, wait=False) as mine:
            assert not mine
        assert path.read_text() == f"{holder.pid}\n"
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.communicate()
    with locked(path, wait=False) as mine:
        assert mine
        assert path.read_text() == f"{os.getpid()}\n"
        with locked(path, wait=False) as again:
            assert not again, "not twice, not even in one process"
    with locked(path, wait=False) as mine:
        assert mine, "given back"
