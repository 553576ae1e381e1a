"""The page in a real browser: what it draws, says and asks for."""
import shutil
from pathlib import Path

import pytest

from sparseloom.model.packed.artefact import write_artefact
from sparseloom.sim.page.page import make_page
from sparseloom.sim.page.parts import SHORT, Section, chart, table
from sparseloom.sim.page.report import Sources, write_report
from tests.sim.browser import (
    console_of,
    find_programs,
    open_browser,
    requests_of,
    show,
    wait_for,
)
from tests.sim.receipts import (
    demo_report,
    dense_of,
    explore_report,
    fit_row,
    model_report,
    small_layers,
    write,
)

RESULTS = Path(__file__).parents[2] / "bench/results"
CHARTS = {"receipt-share", "receipt-layers", "timeline", "scores", "methods", "fit", "front"}


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report with every section, of a small model and the project's own tables."""
    folder, layers = tmp_path_factory.mktemp("page"), small_layers()
    write_artefact(folder / "pruned", list(layers.values()), {"source": {"model": "tiny"}})
    demo = write(folder / "report.json", demo_report(layers))
    dense = write(folder / "dense.json", model_report(dense_of(layers)))
    fits = write(folder / "fit.json", {"rows": [fit_row(), fit_row(row="other")]})
    sources = Sources(artefact=folder / "pruned", demo=demo, measured=[demo, dense], fits=fits,
                      scores=RESULTS / "glue.json",
                      explore=write(folder / "explore.json", explore_report()))
    assert write_report(folder / "report.html", sources, cpu=True, threads=1) == []
    return folder / "report.html"


@pytest.fixture(scope="module")
def chrome():
    with open_browser() as found:
        yield found


@pytest.fixture
def opened(chrome, page):
    """The page on a laptop, in daylight."""
    show(chrome, page)
    return chrome


def test_where_a_browser_is_required_nothing_skips(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("SPARSELOOM_BROWSER", "required")
    with pytest.raises(pytest.fail.Exception, match="no chromium and no chromedriver here"):
        find_programs()
    monkeypatch.delenv("SPARSELOOM_BROWSER")
    with pytest.raises(pytest.skip.Exception, match="the page is not opened in a browser"):
        find_programs()


def test_it_opens_and_every_chart_is_drawn(opened):
    assert console_of(opened) == []
    marks = opened.execute_script("""
        return Object.fromEntries([...document.querySelectorAll(".chart")].map(place => [
            place.dataset.figure, [...place.querySelectorAll(".point path, path.point")].filter(
                mark => mark.getBBox().width + mark.getBBox().height > 0).length]))""")
    assert set(marks) == CHARTS
    assert all(marks.values()), marks
    assert marks["receipt-layers"] == 3 * 2     # two layers: dense, pruned, ideal
    assert marks["front"] == 3
    assert marks["fit"] == 2 * (2 + 1)          # two paths of two parts, one of them without wires


def test_it_asks_for_nothing(opened, page):
    assert requests_of(opened) == [page.as_uri()]
    # And could not: the browser itself refuses.
    answer = opened.execute_async_script("""
        const done = arguments[0];
        fetch("http://127.0.0.1:9/").then(() => done("sent"), error => done(String(error)))""")
    assert "Failed to fetch" in answer
    assert any("Content Security Policy" in line for line in console_of(opened))
    buttons = opened.execute_script("""
        return [...document.querySelectorAll(".modebar-btn")].map(one => one.dataset.title)""")
    assert "Zoom in" in buttons and not [title for title in buttons if "Share" in title]


def test_a_planted_request_is_seen(chrome, page, tmp_path):
    bad = shutil.copy(page, tmp_path / "bad.html")
    text = bad.read_text().replace("Content-Security-Policy", "x", 1)
    bad.write_text(text.replace("<main>", '<main><img src="http://127.0.0.1:9/x.png">', 1))
    show(chrome, bad)
    assert "http://127.0.0.1:9/x.png" in requests_of(chrome)
    assert any("x.png" in line for line in console_of(chrome))


def column(chrome, section, place):
    """Texts of a column of a section's last table."""
    return chrome.execute_script("""
        const tables = document.querySelectorAll(`#${arguments[0]} table`);
        return [...tables[tables.length - 1].tBodies[0].rows].map(
            row => row.cells[arguments[1]].textContent)""", section, place)


def click(chrome, section, place):
    chrome.execute_script("""
        const tables = document.querySelectorAll(`#${arguments[0]} table`);
        tables[tables.length - 1].tHead.rows[0].cells[arguments[1]]
            .querySelector("button").click()""", section, place)


def test_tables_sort_by_number_and_by_text(opened):
    before = column(opened, "front", 4)
    assert before == ["0.100", "0.200", "0.300"]
    click(opened, "front", 7)       # look-up tables, fewest first
    assert column(opened, "front", 7) == ["900", "1,000", "1,200"]      # as text 1,000 is first
    assert column(opened, "front", 4) == ["0.300", "0.200", "0.100"]
    click(opened, "front", 7)
    assert column(opened, "front", 7) == ["1,200", "1,000", "900"]
    click(opened, "front", 3)       # scores: the point without one stays at the end
    assert column(opened, "front", 3) == ["84.0", "85.5", "–"]
    click(opened, "front", 3)
    assert column(opened, "front", 3) == ["85.5", "84.0", "–"]
    assert opened.execute_script("""
        return [...document.querySelectorAll("#front th[aria-sort]")].map(
            head => [head.textContent, head.getAttribute("aria-sort")])""") == [
                ["score", "descending"]]
    click(opened, "receipt", 0)
    assert column(opened, "receipt", 0) == ["encoder.0.down", "encoder.0.up"]
    assert opened.execute_script("""
        return document.querySelector("#receipt tfoot td").textContent""") == "all"


def contrast(chrome, selector):
    """Of an element's text against the page (WCAG 2.1, section 1.4.3)."""
    return chrome.execute_script("""
        const parts = text => text.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = text => parts(text).map(v => v / 255).map(
            v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce(
            (sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
        const style = getComputedStyle(document.querySelector(arguments[0]));
        const ink = style.fill && arguments[0].endsWith("text") ? style.fill : style.color;
        const pair = [ink, getComputedStyle(document.body).backgroundColor].map(light);
        return (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05)""", selector)


def paper(chrome):
    return chrome.execute_script("return getComputedStyle(document.body).backgroundColor")


READ = ["h1", "header p", "#receipt td", "nav a", ".chart .xtick text", ".missing, .tile small"]


def test_light_and_dark(chrome, page):
    show(chrome, page, scheme="light")
    assert paper(chrome) == "rgb(255, 255, 255)"
    assert {selector: contrast(chrome, selector) for selector in READ
            if contrast(chrome, selector) < 4.5} == {}
    # The user's taste changes while the page is open: charts follow.
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {
        "features": [{"name": "prefers-color-scheme", "value": "dark"}]})
    wait_for(chrome, """return getComputedStyle(document.querySelector(".chart .xtick text")).fill
                        === "rgb(230, 237, 243)" """)
    assert paper(chrome) == "rgb(16, 22, 28)"
    assert {selector: contrast(chrome, selector) for selector in READ
            if contrast(chrome, selector) < 4.5} == {}
    show(chrome, page, scheme="dark")
    assert paper(chrome) == "rgb(16, 22, 28)" and console_of(chrome) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_wider_than_the_screen(chrome, page, scheme):
    show(chrome, page, width=390, height=844, scheme=scheme)
    assert chrome.execute_script("return innerWidth") == 390
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= 390
    wide = chrome.execute_script("""
        return [...document.querySelectorAll("section, .chart, .chart svg, #viewer, header")]
            .filter(one => one.getBoundingClientRect().right > 390.5)
            .map(one => one.className.baseVal ?? one.className)""")
    assert wide == [] and console_of(chrome) == []
    plots = chrome.execute_script("""
        return [...document.querySelectorAll(".chart .plotbg, .chart .bglayer")].length""")
    assert plots >= len(CHARTS)


def test_on_a_phone_a_table_shows_numbers_beside_its_names(chrome, page):
    show(chrome, page, width=390, height=844)
    names, numbers = chrome.execute_script("""
        const edges = place => [...document.querySelectorAll(`#receipt table`)].map(
            table => table.tBodies[0].rows[0].cells[place].getBoundingClientRect().right);
        return [edges(0), edges(1)]""")
    assert numbers[0] <= 390                            # whole model: pruned
    assert max(names) <= 16 + 9 * 16 + 1                # the page's edge and nine em
    # Scrolled to its end, a table still says what its rows are.
    before, after, end = chrome.execute_script("""
        const box = document.querySelectorAll("#receipt .scroll")[1];
        const cell = box.querySelector("tbody td"), left = () => cell.getBoundingClientRect().left;
        const before = left();
        box.scrollLeft = 1e6;
        return [before, left(), box.scrollLeft]""")
    assert end > 100 and after == pytest.approx(before, abs=1)


def test_toolbars_cover_nothing(opened):
    covered = opened.execute_script("""
        const apart = (a, b) => a.bottom <= b.top + 0.5 || b.bottom <= a.top + 0.5
            || a.right <= b.left || b.right <= a.left;
        const box = one => one.getBoundingClientRect();
        return [...document.querySelectorAll(".chart")].map(place => [
            place.dataset.figure, box(place.querySelector(".modebar")),
            [...place.querySelectorAll(".legend, .plotbg, .annotation"),
             place.previousElementSibling]])
            .filter(([, bar, others]) => !bar.height || others.some(one => !apart(bar, box(one))))
            .map(([name]) => name)""")
    assert covered == []


def made(path, body, **figures):
    """A page of one section."""
    path.write_text(make_page("t", "s", [], [], [
        Section(name="one", title="One", body=body, figures=figures)]))
    return path


def test_a_short_table_is_whole_and_a_long_one_keeps_its_foot(chrome, tmp_path):
    for rows, whole in ((SHORT, True), (SHORT + 1, False), (80, False)):
        show(chrome, made(tmp_path / "table.html", table(
            ["name", "count"], [[f"row {row}", row] for row in range(rows)], foot=["all", 1])))
        hidden, below = chrome.execute_script("""
            const box = document.querySelector(".scroll"), foot = box.querySelector("tfoot td");
            return [box.scrollHeight - box.clientHeight,
                    foot.getBoundingClientRect().bottom - box.getBoundingClientRect().bottom]""")
        assert (hidden == 0) == whole, (rows, hidden)
        assert -2 <= below <= 0, (rows, below)


TICKS = """
    return [...document.querySelectorAll(".chart .xtick text")].map(one => one.textContent)"""


@pytest.mark.parametrize(("x", "width", "ticks"), [
    ([3, 120], 390, ["5", "10", "20", "50", "100"]),
    ([3, 120], 1280, ["3", "5", "7", "10", "20", "30", "50", "70", "100"]),
    ([0.02, 5000], 390, ["0.01", "0.1", "1", "10", "100", "1,000", "10,000"]),
    ([41, 57], 390, ["45", "50", "55"]),
])
def test_logarithmic_axes_say_whole_numbers(chrome, tmp_path, x, width, ticks):
    figure = {"data": [{"type": "scatter", "x": x, "y": [1, 2], "mode": "markers"}],
              "layout": {"xaxis": {"type": "log"}}}
    show(chrome, made(tmp_path / "log.html", chart("log", "points"), log=figure), width=width)
    assert chrome.execute_script(TICKS) == ticks
    apart = chrome.execute_script("""
        const boxes = [...document.querySelectorAll(".chart .xtick text")].map(
            one => one.getBoundingClientRect());
        return Math.min(...boxes.slice(1).map((box, i) => box.left - boxes[i].right))""")
    assert apart > 4
    # They follow a zoom.
    chrome.execute_script("""
        Plotly.relayout(document.querySelector(".chart"), {"xaxis.range": [2, 2.02]})""")
    wait_for(chrome, TICKS.replace("return ", "return (") + ").includes('102')")
    assert console_of(chrome) == []


def test_ticks_of_a_figure_s_own_stay(chrome, tmp_path):
    figure = {"data": [{"type": "scatter", "x": [1, 100], "y": [1, 2]}],
              "layout": {"xaxis": {"type": "log", "tickvals": [4, 40], "ticktext": ["a", "b"]}}}
    show(chrome, made(tmp_path / "own.html", chart("own", "points"), own=figure))
    assert chrome.execute_script(TICKS) == ["a", "b"]


def test_masks_zoom(opened):
    image = "document.querySelector('#viewer .view')"
    wait_for(opened, f"return {image}.dataset.scale === '1'")
    opened.execute_script("document.querySelector('[data-zoom=\"2\"]').click()")
    assert opened.execute_script(f"return {image}.dataset.scale") == "2"
    before, after = (opened.execute_script(f"""
        {image}.dispatchEvent(new WheelEvent("wheel", {{deltaY: {turn}, cancelable: true}}));
        return +{image}.dataset.scale""") for turn in (-300, 300))
    assert (before, after) == (pytest.approx(4), pytest.approx(2))
    opened.execute_script("document.querySelector('[data-zoom=\"0\"]').click()")
    assert opened.execute_script(f"return {image}.dataset.scale") == "1"
    assert opened.execute_script("""
        document.querySelectorAll(".tile")[1].click();
        return [document.querySelector("#viewer b").textContent,
                document.querySelector("#viewer img").src
                    === document.querySelectorAll(".tile img")[1].src]""") == [
                        "encoder.0.down", True]


def test_another_layer_s_timeline(opened):
    lanes = "return document.querySelector('[data-figure=timeline] .trace path').getAttribute('d')"
    first = opened.execute_script(lanes)
    choices = opened.execute_script("""
        return [...document.querySelector("select[data-shows=timeline]").options].map(
            one => one.textContent)""")
    assert choices == ["up, pruned", "up, dense", "down, pruned", "down, dense"]
    opened.execute_script("""
        const list = document.querySelector("select[data-shows=timeline]");
        list.value = list.options[3].value;
        list.dispatchEvent(new Event("change"))""")
    wait_for(opened, lanes.replace("return ", "return (") + f") !== {first!r}")
    assert console_of(opened) == []
