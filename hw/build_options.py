"""Command-line options of a build, the same for every command that takes one."""
from typing import Annotated

import typer

from sparseloom.hw.config import BLOCK_INPUTS, BUS_BITS, TARGETS, WEIGHT_BITS, ArrayConfig

DEFAULTS = ArrayConfig()


def choice(values: tuple) -> str:
    """Values for a help text."""
    return ", ".join(map(str, values))


Rows = Annotated[int, typer.Option(help="Tokens at a time, 1 to 32.")]
Cols = Annotated[int, typer.Option(help="Outputs at a time, 1 to 32.")]
MaxK = Annotated[int, typer.Option(help="Longest dot product, in inputs.")]
ActWords = Annotated[int, typer.Option(
    help="Words of ROWS bytes in each half of the activation buffer; at least MAX_K.")]
BusBits = Annotated[int, typer.Option(help=f"Width of the streams: {choice(BUS_BITS)}.")]
Lanes = Annotated[int | None, typer.Option(
    show_default="the largest divisor of ROWS up to 4",
    help="Results post-processed in a cycle; divides ROWS.")]
QueueDepth = Annotated[int, typer.Option(help="Jobs that may be outstanding, 1 to 16.")]
BlockInputs = Annotated[int, typer.Option(
    help=f"Inputs per bit of a block bitmap: {choice(BLOCK_INPUTS)}.")]
WeightBits = Annotated[int, typer.Option(help=f"Bits of a weight: {choice(WEIGHT_BITS)}.")]
Target = Annotated[str, typer.Option(
    help=f"Technology of multipliers and memories: {choice(TARGETS)}.")]
