"""Runs the ``pycon`` examples of every page in docs/, in order, one namespace per page."""
import doctest
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```pycon" in page.read_text())
EXAMPLES = re.compile(r"^```pycon\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_examples_of(page):
    text = page.read_text()
    names: dict = {}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    report: list[str] = []
    for found in EXAMPLES.finditer(text):
        line = text[:found.start(1)].count("\n")
        test = parser.get_doctest(found[1], names, page.name, str(page), line)
        runner.run(test, out=report.append, clear_globs=False)
        names = test.globs
    assert runner.tries > 0
    assert not report, "".join(report)


def test_the_format_page_is_among_them():
    assert {"format.md", "numerics.md"} <= {page.name for page in PAGES}
