"""The page around its sections: nothing in it can break out of its place."""
import json
import re

from sparseloom.sim.page.page import make_page, plotly_script
from sparseloom.sim.page.parts import Section

FIGURE = {"data": [{"type": "bar", "x": [1], "y": [2]}], "layout": {}}
SECTIONS = [Section(name="one", title="One & two", body="<p>body</p>", figures={"a": FIGURE}),
            Section(name="two", title="Two", body="", there=False)]


def test_parts_in_order():
    page = make_page("T<itle", "sub", [("1.9×", "fewer")], ["watch <out>"], SECTIONS)
    assert page.startswith("<!DOCTYPE html>") and page.endswith("</body></html>\n")
    for text in ("<title>T&lt;itle</title>", '<li><a href="#one">One &amp; two</a></li>',
                 '<section id="two"><h2>Two</h2></section>', "<b>1.9×</b><span>fewer</span>",
                 '<p class="warn">watch &lt;out&gt;</p>', "prefers-color-scheme: dark"):
        assert text in page
    assert page == make_page("T<itle", "sub", [("1.9×", "fewer")], ["watch <out>"], SECTIONS)


def test_it_loads_nothing():
    page = make_page("t", "s", [], [], SECTIONS)
    outside = page.replace(plotly_script(), "")
    assert len(page) - len(outside) > 1_000_000
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", outside)
    assert "@import" not in outside and "url(" not in outside
    assert "default-src 'none'" in outside


def test_data_cannot_end_its_script():
    evil = {"data": [{"name": "</script><script>alert(1)</SCRIPT><!-- é"}], "layout": {}}
    page = make_page("t", "s", [], [], [Section(name="x", title="x", body="", figures={"e": evil})])
    told = re.search(r'id="figures">(.*?)</script>', page, re.DOTALL)
    assert told is not None and "<!--" not in told[1]
    assert json.loads(told[1]) == {"e": evil}
    assert page.count("</script>") == 3
