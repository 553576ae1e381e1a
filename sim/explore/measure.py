"""Real synthesis, or place and route, of a build that an exploration found."""
from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError

KINDS = ("synth", "fit")
"""Synthesised and packed: exact cells, in minutes. Placed and routed: the clock too, an hour."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A build to measure.

    Parameters
    ----------
    config : ArrayConfig
    device : str
        Key of :data:`~sparseloom.hw.devices.DEVICES`.
    kind : str
        One of ``KINDS``.
    seeds : int
        Of place and route.
    work : Path
        Folder of runs, where the worker is.
    """

    config: ArrayConfig
    device: str
    kind: str
    seeds: int
    work: Path

    @property
    def key(self) -> str:
        """Digest of everything that decides the result."""
        from sparseloom.hw.fit import tool_versions

        words = json.dumps(["build", self.config.to_dict(), self.device, self.kind,
                            self.seeds if self.kind == "fit" else 0, hardware_digest(),
                            tool_versions()], sort_keys=True)
        return hashlib.sha256(words.encode()).hexdigest()[:32]


@cache
def hardware_digest() -> str:
    """Of all sources that the Verilog is made from."""
    from sparseloom import hw
    from sparseloom.model.packed import spec

    told = hashlib.sha256()
    folder = Path(hw.__path__[0])
    for path in (*sorted(folder.glob("*.py")), Path(spec.__file__)):
        told.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return told.hexdigest()


def measure_build(build: Build) -> dict[str, Any]:
    """Measure it; what a worker does.

    Returns
    -------
    dict
        ``key``, ``kind`` and ``lut4``, ``comb``, ``ff``, ``dsp``, ``bram``; of a fit also ``mhz``,
        the median of its seeds. Where the device is too small, ``refused`` says why instead.

    Raises
    ------
    ToolError
        If a tool fails or takes too long.
    """
    from sparseloom.hw.fit import fit
    from sparseloom.hw.packing import packed_cells

    told: dict[str, Any] = {"key": build.key, "kind": build.kind}
    try:
        if build.kind == "fit":
            report = fit(build.config, build.device, seeds=build.seeds, work=build.work)
            told["mhz"] = report["fmax_mhz"]["median"]
        else:
            report = packed_cells(build.config, build.device, work=build.work)
    except InputError as error:
        return {**told, "refused": str(error)}
    return {**told, **{name: report[name] for name in ("lut4", "comb", "ff", "dsp", "bram")}}
