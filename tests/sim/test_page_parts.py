"""Text is escaped, numbers sort by their values, what is missing says what makes it."""
import pytest

from sparseloom.sim.page.parts import chart, chooser, fixed, missing, paragraph, table


def test_text_is_text():
    evil = '<b>"&\''
    for made in (paragraph(evil), table([evil], [[evil]]), chart(evil, evil),
                 chooser(evil, [(evil, evil)], "x"), missing("m", "t", evil, evil).body):
        assert "<b>" not in made and "&lt;b&gt;&quot;&amp;&#x27;" in made


def test_cells():
    made = table(["a", "b", "c", "d"], [["x", 1234, fixed(0.5, 2, "×"), None]],
                 foot=["all", 5, None, None])
    assert "<td>x</td>" in made
    assert '<td class="number" data-value="1234">1,234</td>' in made
    assert '<td class="number" data-value="0.5">0.50×</td>' in made
    assert '<td class="number">–</td>' in made
    assert made.count("class=number") == 3              # headings of numbers are right-aligned
    assert "<tfoot><tr><td>all</td>" in made and "<tfoot>" not in table(["a"], [["x"]])
    assert fixed(None, 2) is None


def test_rows_and_headings_must_fit():
    with pytest.raises(IndexError):
        table(["a", "b"], [["only one"]])


def test_missing_is_not_there():
    section = missing("fit", "On the FPGA", "no table", "make bench-fit")
    assert not section.there and "<pre>make bench-fit</pre>" in section.body
