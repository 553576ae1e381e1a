"""docs/link.md says what model/packed/link.py holds."""
from pathlib import Path

import pytest

from sparseloom.model.packed import link

TEXT = (Path(__file__).parents[2] / "docs/link.md").read_text()
ROWS = {
    "header": [f"| `{field}` | {bits} |" for field, bits in link.HEADER],
    "hello": [f"| `{field}` | {bits} |" for field, bits in link.HELLO_ANSWER],
    "kinds": [f"| {kind} | `{name}` | {asks} | {gives} | {does} |"
              for kind, (name, asks, gives, does) in link.KINDS.items()],
    "flags": [f"| {flag} | `{name}` | {means} |" for flag, (name, means) in link.FLAGS.items()],
    "statuses": [f"| {code} | `{name}` | {means} |"
                 for code, (name, means) in link.STATUSES.items()],
}


@pytest.mark.parametrize("table", ROWS)
def test_tables_are_the_data(table):
    rows = "\n".join(ROWS[table])
    assert f"|\n{rows}\n\n" in TEXT, f"expected in docs/link.md:\n{rows}"


def test_numbers_are_the_data():
    from sparseloom.hw.link_client import ATTEMPTS, PATIENCE
    for says in (f"up to {link.MAX_DATA} bytes of data", f"after {ATTEMPTS} attempts",
                 f"time and {PATIENCE} s"):
        assert says in " ".join(TEXT.split()), says
