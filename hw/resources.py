"""Cells of a build on an ECP5 without synthesis: memories and multipliers exact, the rest fitted.

Block memories and multipliers follow from the configuration. Look-up tables and flip-flops are
linear in a few sizes of the build; ``bench/resources.py`` fits their coefficients to synthesised
and packed builds and writes them, with what they miss, to ``resources.json`` beside this file.
"""
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from amaranth.hdl import Shape

from sparseloom.hw.act_loader import ActLoader
from sparseloom.hw.array import STEP
from sparseloom.hw.block_fifo import DISTRIBUTED, places
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import Device, cell_multipliers
from sparseloom.hw.drain import PARAM_BANKS, param_stride
from sparseloom.hw.gearbox import choices
from sparseloom.hw.layouts import ScaleParams
from sparseloom.hw.memory import LARGEST_DISTRIBUTED, block_count
from sparseloom.hw.postprocess import DELAY_WORDS
from sparseloom.hw.result_port import one_register
from sparseloom.hw.strip_loader import PARAM_BYTES, STRIP_BANKS, UNIT_BITS
from sparseloom.hw.weight_word import word_count, word_layout
from sparseloom.hw.wide_multiplier import WideMultiplier
from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec

FILE = Path(__file__).with_name("resources.json")
FITTED = ("lut4", "comb", "ff")
"""What is estimated; as :func:`.fit.fit` counts them, the wrapper's taken off."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Cells of a build.

    Parameters
    ----------
    lut4, comb, ff : int
        Look-up tables as synthesis counts them, TRELLIS_COMB and flip-flops as nextpnr does.
    dsp, bram : int
        MULT18X18D and DP16KD.
    """

    lut4: int
    comb: int
    ff: int
    dsp: int
    bram: int

    def over(self, device: Device, fill: float = 1.0) -> list[str]:
        """What is more than a device has, by the device's names; empty if it fits.

        Parameters
        ----------
        device : Device
        fill : float
            Share of look-up tables and of flip-flops that may be used.
        """
        limits = {"TRELLIS_COMB": (self.comb, fill * device.lut4),
                  "flip-flops": (self.ff, fill * device.ff),
                  "MULT18X18D": (self.dsp, device.dsp), "DP16KD": (self.bram, device.bram)}
        return [name for name, (wanted, there) in limits.items() if wanted > there]


def memories(config: ArrayConfig) -> list[tuple[int, int, int]]:
    """Memories of the unit that may become blocks.

    Returns
    -------
    list of (int, int, int)
        Words, bits of a word, and words up to which it is made of look-up tables.
        ``tests/hw/test_resources.py`` holds the list against the unit's own.
    """
    lanes, strips = config.post_lanes, STRIP_BANKS * config.max_k
    acts = ActLoader.HALVES << (config.act_words - 1).bit_length()
    weights = word_layout(config.cols, config.weight_bits)
    weight_bits = Shape.cast(weights.elem_shape).width
    usual = [
        *[(acts, 8)] * config.rows,
        (strips, Shape.cast(range(config.max_k)).width),
        *((strips, weight_bits * min(STEP, weights.length - low))
          for low in range(0, weights.length, STEP)),
        *[(2 * spec.LUT_ENTRIES, 8)] * lanes,
    ]
    others = [
        (PARAM_BANKS * param_stride(config.cols), Shape.cast(ScaleParams).width, 0),
        # Round the arithmetic: low bytes of sums and what makes one zero; the other bytes, a memory
        # a lane, and two flags in the first.
        (DELAY_WORDS, (8 + 1) * lanes, 0),
        *((DELAY_WORDS, 24 + 2 * (lane == 0), DELAY_WORDS) for lane in range(lanes)),
    ]
    queues = [
        (-(-config.max_k // UNIT_BITS) * UNIT_BITS // config.bus_bits, config.bus_bits),    # masks
        (config.result_words, 32 * lanes + 2),  # sums, whether they leave raw, whether it is last
    ]
    return [*((*memory, LARGEST_DISTRIBUTED) for memory in usual),
            *others,
            *((places(depth), width, DISTRIBUTED) for depth, width in queues)]


def block_memories(config: ArrayConfig) -> int:
    """DP16KD of a build of target ``ecp5``, exact.

    Raises
    ------
    InputError
        If a memory is deeper than any that the unit can build.
    """
    try:
        return sum(block_count(*memory) for memory in memories(config))
    except ValueError as error:
        raise InputError(f"act_words, max_k: {error}") from None


def multipliers(config: ArrayConfig) -> int:
    """MULT18X18D of a build of target ``ecp5``, exact: the array's and the lanes'."""
    return cell_multipliers(config) + config.post_lanes * WideMultiplier.MULTIPLIERS


def features(config: ArrayConfig) -> dict[str, float]:
    """Sizes of a build that look-up tables and flip-flops are linear in.

    ``unit`` is 1; ``cells`` of the array with weights of 8 bits, ``pairs`` with 4; ``edge``, the
    memories at the array's edges, each with registers of its own; ``lanes``; ``bus_bits``;
    ``gearbox_choices``, two-way ones of single bits in all gearboxes.
    """
    cells = cell_multipliers(config)
    wide = config.weight_bits == 8
    return {"unit": 1.0, "cells": cells if wide else 0, "pairs": 0 if wide else cells,
            "edge": config.rows + -(-word_count(config.cols, config.weight_bits) // STEP),
            "lanes": config.post_lanes, "bus_bits": config.bus_bits,
            "gearbox_choices": sum(choices(*box) for box in gearboxes(config))}


def gearboxes(config: ArrayConfig) -> list[tuple[int, int]]:
    """Bytes in and out of each gearbox of the unit."""
    bus, lanes = config.bus_bytes, config.post_lanes
    found = [(bus, config.rows), (bus, spec.column_bytes(config.cols, config.weight_bits))]
    if bus != PARAM_BYTES:
        found.append((bus, PARAM_BYTES))
    if not one_register(lanes, bus):
        found += [(lanes, bus), (4 * lanes, bus)]
    return found


@dataclass(frozen=True, kw_only=True)
class ResourceModel:
    """Coefficients, and how far they are off.

    Parameters
    ----------
    coefficients : dict of str to dict of str to float
        For each of ``FITTED``, by feature.
    errors : dict of str to float
        For each of ``FITTED``, the largest relative error for a build that its fit did not see.
    builds : int
        Builds that it was fitted to.
    clocks : tuple of dict
        Measured fits: ``name``, ``config``, ``device``, ``speed``, ``mhz``, ``seeds``.
    """

    coefficients: Mapping[str, Mapping[str, float]]
    errors: Mapping[str, float]
    builds: int
    clocks: tuple[Mapping[str, Any], ...] = ()

    def estimate(self, config: ArrayConfig) -> Resources:
        """Cells of a build of target ``ecp5``.

        Raises
        ------
        InputError
            If a memory is deeper than any that the unit can build.
        """
        sizes = features(config)
        fitted = {kind: max(0, round(sum(self.coefficients[kind][name] * value
                                         for name, value in sizes.items()))) for kind in FITTED}
        return Resources(**fitted, dsp=multipliers(config), bram=block_memories(config))


@cache
def resource_model(path: Path = FILE) -> ResourceModel:
    """The model as ``bench/resources.py`` wrote it.

    Raises
    ------
    InputError
        If the file is not one of those.
    """
    try:
        found = json.loads(path.read_text())
        names = list(features(ArrayConfig()))
        if any(list(found["coefficients"][kind]) != names for kind in FITTED):
            raise ValueError(f"coefficients of other sizes than {', '.join(names)}")
        return ResourceModel(coefficients=found["coefficients"], errors=found["errors"],
                             builds=len(found["builds"]), clocks=tuple(found["clocks"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: expected a resource model (make bench-resources), "
                         f"found: {error}") from None

