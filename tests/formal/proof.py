"""What a proof is: a design with assertions, the depth it takes, and bugs that it must find."""
from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Module

from tests.formal import proofs


@dataclass(frozen=True, kw_only=True)
class Bug:
    """A mistake in the hardware's source: one piece of text in the place of another.

    Parameters
    ----------
    what : str
        The mistake, in a few words.
    file : str
        In ``hw/``.
    old, new : str
        ``old`` must be in the file exactly once.
    """

    what: str
    file: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Proof:
    """A claim about a component, for every input and every time.

    Parameters
    ----------
    name : str
        Of the proof, unique; letters, digits and ``_``.
    claim : str
        What holds, in a sentence or two.
    at : str
        Parameters that the component is proved at.
    given : str
        What is assumed of its surroundings; empty if nothing is.
    design : callable
        Makes the module: the component, Assert, Assume and Cover.
    depth : int
        Steps of the induction: the claim holds in the first ``depth`` cycles, and after ``depth``
        cycles in which it holds it holds in the next one. With ``bounded`` the cycles that are
        looked at from the start.
    bounded : str
        Why the first ``depth`` cycles are all; empty for a proof by induction.
    cover_depth : int
        Cycles in which every cover is reached, and a planted bug shown.
    bugs : tuple of Bug
        Each must break the claim within ``cover_depth`` cycles.
    engine : str
        SymbiYosys' engine. With ``abc bmc3``, for designs that are too large for z3, each run looks
        for what it wants in the first cycles: a cover is an assertion that it is never reached.
    bare : callable, optional
        The same without what holds between the cycles: in it covers and bugs are looked for, so
        that a bug breaks the claim itself.
    search : str
        Engine of those runs; empty if it is ``engine``.
    """

    name: str
    claim: str
    at: str
    given: str = ""
    design: Callable[[], Module]
    depth: int
    bounded: str = ""
    cover_depth: int
    bugs: tuple[Bug, ...]
    engine: str = "smtbmc z3"
    bare: Callable[[], Module] | None = None
    search: str = ""


def all_proofs() -> dict[str, Proof]:
    """Every proof of the folder ``proofs``, by name, in the order of files.

    Raises
    ------
    ValueError
        If two have one name.
    """
    found: dict[str, Proof] = {}
    for file in sorted(pkgutil.iter_modules(proofs.__path__), key=lambda file: file.name):
        for proof in importlib.import_module(f"{proofs.__name__}.{file.name}").PROOFS:
            if proof.name in found:
                raise ValueError(f"proof {proof.name} is there twice")
            found[proof.name] = proof
    return found
