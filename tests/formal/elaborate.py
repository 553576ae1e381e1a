"""A proof's design as RTLIL, with a bug planted or without.

A process of its own for each: a bug is planted while the hardware's source is imported.
"""
from __future__ import annotations

import argparse
import re
import sys
import warnings
from importlib.abc import MetaPathFinder
from importlib.machinery import SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import Elaboratable, UnusedElaboratable

from sparseloom.model.write import write_whole
from tests.formal.proof import Bug

ROOT = Path(__file__).resolve().parents[2]


class Planted(MetaPathFinder):
    """Imports one file of ``hw/`` with a bug in it.

    Raises
    ------
    ValueError
        On import, if the text to replace is not in the file exactly once.
    """

    def __init__(self, bug: Bug):
        self._bug, self._path = bug, ROOT / "hw" / bug.file
        self._name = f"sparseloom.hw.{self._path.stem}"
        self.planted = False

    def find_spec(self, fullname, path, target=None):
        if fullname != self._name:
            return None
        return spec_from_file_location(fullname, self._path, loader=_Loader(self, fullname,
                                                                            str(self._path)))

    def changed(self, source: str) -> str:
        """The source with the bug."""
        found = source.count(self._bug.old)
        if found != 1:
            raise ValueError(f"hw/{self._bug.file}: expected {self._bug.old!r} once, for the bug "
                             f"{self._bug.what!r}, found {found} times")
        self.planted = True
        return source.replace(self._bug.old, self._bug.new)


class _Loader(SourceFileLoader):
    def __init__(self, finder: Planted, fullname: str, path: str):
        super().__init__(fullname, path)
        self._finder = finder

    def get_code(self, fullname):
        source = self.get_data(self.path).decode()
        return compile(self._finder.changed(source), self.path, "exec")


def write_design(name: str, bug: int | None, out: Path, *, never: bool = False) -> None:
    """Write a proof's design.

    Parameters
    ----------
    name : str
        Of the proof.
    bug : int or None
        Number of the bug to plant.
    out : Path
    never : bool
        In the place of all assertions: that no cover is reached.
    """
    # The bug is known only from a proof's file, which imports what is to be changed: look, forget.
    from tests.formal.proof import all_proofs
    proof = all_proofs()[name]
    planted = Planted(proof.bugs[bug]) if bug is not None else None
    for module in [module for module in sys.modules
                   if module.startswith(("sparseloom.hw", "tests.formal"))]:
        del sys.modules[module]
    if planted is not None:
        sys.meta_path.insert(0, planted)
    from tests.formal.memory import install
    install()
    if never:
        from tests.formal import parts
        assertion = parts.Assert
        parts.Assert, parts.Cover = (lambda *said: []), (lambda reached: assertion(~reached))
    from tests.formal.proof import all_proofs as fresh
    proof = fresh()[name]
    made = proof.design if bug is None and not never else proof.bare or proof.design
    design = made()
    if planted is not None and not planted.planted:
        raise ValueError(f"{name}: expected hw/{proof.bugs[bug or 0].file} to be imported, "
                         f"found that it is not")
    write_whole(out, as_rtlil(design).encode())


def as_rtlil(design: Elaboratable) -> str:
    """A design without ports, named ``top``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UnusedElaboratable)
        text = rtlil.convert(design, name="top", ports=[])
    # Amaranth takes the names of yosys' own cells for names of modules.
    return re.sub(r"cell \\\$any(seq|const) ", r"cell $any\1 ", text)


def main() -> None:
    """Write a proof's design as RTLIL."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("proof")
    parser.add_argument("out", type=Path)
    parser.add_argument("--bug", type=int, help="number of the bug to plant, from 0")
    parser.add_argument("--never", action="store_true",
                        help="assert that no cover is reached, and nothing else")
    chosen = parser.parse_args()
    write_design(chosen.proof, chosen.bug, chosen.out, never=chosen.never)


if __name__ == "__main__":
    main()
