import io
import time

from rich.console import Console

from sparseloom.sim.progress import progress_bars


def test_a_log_gets_lines():
    out = io.StringIO()
    with progress_bars(Console(file=out, width=80), every=0.02) as progress:
        task = progress.add_task("train [loss]", total=40)
        other = progress.add_task("never shown", total=1)
        progress.update(other, completed=1)
        progress.update(task, completed=7)
        progress.add_task("download", total=None)
        deadline = time.monotonic() + 5
        while "download" not in out.getvalue() and time.monotonic() < deadline:
            time.sleep(0.01)
    text = out.getvalue()
    assert "train [loss]: 7 of 40" in text
    assert "s  download\n" in text
    assert "never shown" not in text


def test_a_terminal_gets_bars_that_vanish():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True)
    with progress_bars(console, every=0.01) as progress:
        progress.add_task("train", total=40)
        progress.refresh()
    assert "train" in out.getvalue()
    assert "0 of 40" not in out.getvalue()
