import io

from rich.console import Console

from sparseloom.hw.stages import shown_stages


def test_a_log_has_a_line_for_each_stage():
    out = io.StringIO()
    with shown_stages(Console(file=out), 2) as begin:
        begin("synth")
        assert out.getvalue() == "  synth\n"
        begin("[route]")
    assert out.getvalue() == "  synth\n  [route]\n"


def test_a_terminal_has_a_bar_that_names_the_stage_and_counts():
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=80)
    with shown_stages(console, 4) as begin:
        begin("synth")
        begin("seed 1: place")
        import time
        time.sleep(0.3)
    assert "seed 1: place" in out.getvalue()
    assert "1/4" in out.getvalue()
