"""The clock to expect of a build: that of the measured fit most like it."""
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparseloom.hw.config import ArrayConfig


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A clock, and whose it is.

    Parameters
    ----------
    mhz : float
    source : str
        Name of the measured fit, or ``given``.
    """

    mhz: float
    source: str


def nearest_clock(config: ArrayConfig, device: str, fits: Sequence[Mapping[str, Any]],
                  ) -> Clock | None:
    """The clock of the nearest fit of target ``ecp5``; None where there is none at all.

    Near is a like number of cells first: each factor of two counts as 1.
    Another width of weights counts as 1, another device as 0.5, a bus of another width as 0.25
    for each factor of two. Of equally near ones the first in the table.

    Parameters
    ----------
    config : ArrayConfig
    device : str
        Key of :data:`.devices.DEVICES`.
    fits : sequence of mapping
        ``name``, ``config``, ``device``, ``mhz`` of each, as in :mod:`.resources`.
    """
    def distance(fit: Mapping[str, Any]) -> float:
        other = ArrayConfig(**fit["config"])
        return (abs(math.log2(config.rows * config.cols / (other.rows * other.cols)))
                + (config.weight_bits != other.weight_bits) + 0.5 * (device != fit["device"])
                + 0.25 * abs(math.log2(config.bus_bits / other.bus_bits)))

    mine = [fit for fit in fits if fit["config"]["target"] == config.target]
    if not mine:
        return None
    best = min(mine, key=distance)
    return Clock(mhz=best["mhz"], source=best["name"])
