"""Masks as images: which weights live, one layer at a time or all on one sheet. No torch."""
from __future__ import annotations

import io
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sparseloom.model.errors import InputError
from sparseloom.model.masks import group_mask
from sparseloom.model.write import room_to_write, write_whole

if TYPE_CHECKING:
    from PIL import Image

ALIVE, DEAD = (0x00, 0x72, 0xB2), (0xF0, 0xE4, 0x42)
"""Blue and yellow, which differ in brightness, too: Okabe and Ito's colours for everybody."""
LINE = (0x40, 0x40, 0x40)
SMALL_SIDE = 512
"""Matrices whose longest side is shorter are enlarged, by a whole number."""
LARGE_SIDE = 4096
"""Of matrices with a longer side, a pixel is a group: nothing is lost, proportions are."""
TILE = 160
"""Longest side of a layer on the sheet, in pixels."""
MARGIN, TEXT = 12, 13
MAX_NAME = 34


def draw_mask(mask: np.ndarray, *, structure: str, p: int, q: int,
              lines: bool = False) -> Image.Image:
    """Draw one layer's mask: outputs downwards, inputs to the right.

    Parameters
    ----------
    mask : ndarray of bool, shape (N, K)
    structure, p, q
        Its groups.
    lines : bool
        A thin line between strips of p outputs.

    Returns
    -------
    Image
        RGB, :data:`ALIVE` and :data:`DEAD`. A square of s × s pixels for each weight, s a whole
        number that makes small matrices visible; one pixel for each group where a side is longer
        than :data:`LARGE_SIDE`. Its ``info["pixel"]`` says which: ``weight`` or ``group``.
    """
    from PIL import Image

    groups = group_mask("layer", mask, structure, p, q)
    large = max(mask.shape) > LARGE_SIDE
    bits = groups if large else np.asarray(mask)
    scale = max(1, SMALL_SIDE // max(bits.shape))
    pixels = _colours(bits).repeat(scale, axis=0).repeat(scale, axis=1)
    if lines:
        step = p * scale if not large or structure == "row" else scale
        ends = range(step, pixels.shape[0], step)
        pixels = np.insert(pixels, list(ends), np.array(LINE, np.uint8), axis=0)
    image = Image.fromarray(np.ascontiguousarray(pixels))
    image.info["pixel"] = "group" if large else "weight"
    return image


def _colours(bits: np.ndarray) -> np.ndarray:
    return np.where(bits[..., None], np.array(ALIVE, np.uint8), np.array(DEAD, np.uint8))


def draw_sheet(masks: Mapping[str, np.ndarray], *, title: str = "") -> Image.Image:
    """All layers side by side with names and densities, an encoder layer a row.

    Each tile is the mask shrunk to at most :data:`TILE` pixels a side; a pixel's colour is the
    mean of its weights, so a tile shows where density lies and :func:`draw_mask` single groups.

    Parameters
    ----------
    masks : mapping of str to ndarray of bool, shape (N, K)

    Raises
    ------
    InputError
        If there is no mask.
    """
    from PIL import Image, ImageDraw, ImageFont

    if not masks:
        raise InputError("masks: expected a layer to draw, found none")
    font = ImageFont.load_default(TEXT)
    across = _across(list(masks))
    down = math.ceil(len(masks) / across)
    width, height = TILE + 2 * MARGIN + 60, TILE + 2 * MARGIN + 2 * (TEXT + 3)
    top = (MARGIN + TEXT) * 2 + MARGIN
    sheet = Image.new("RGB", (across * width, top + down * height), "white")
    pen = ImageDraw.Draw(sheet)
    alive, size = sum(int(mask.sum()) for mask in masks.values()), sum(map(np.size, masks.values()))
    pen.text((MARGIN, MARGIN), f"{title}  {alive / size:.1%} of {size:,} weights".strip(),
             fill="black", font=font)
    left = MARGIN
    for colour, word in ((ALIVE, "alive"), (DEAD, "dead")):
        pen.rectangle((left, MARGIN + TEXT + 6, left + TEXT, MARGIN + 2 * TEXT + 6), fill=colour,
                      outline=LINE)
        pen.text((left + TEXT + 5, MARGIN + TEXT + 5), word, fill="black", font=font)
        left += 80
    for index, (name, mask) in enumerate(masks.items()):
        x, y = (index % across) * width + MARGIN, top + (index // across) * height
        scale = TILE / max(mask.shape)
        tile = _shrunk(mask, tuple(max(1, round(side * scale)) for side in mask.shape))
        pen.text((x, y), _shortened(name), fill="black", font=font)
        pen.text((x, y + TEXT + 2), f"{mask.shape[0]} x {mask.shape[1]}, {mask.mean():.1%}",
                 fill="black", font=font)
        sheet.paste(Image.fromarray(tile), (x, y + 2 * (TEXT + 3)))
    return sheet


def _across(names: list[str]) -> int:
    """Tiles a row: as many as the first numbered block has, so that blocks lie in rows."""
    blocks = [next((part for part in name.split(".") if part.isdecimal()), None) for name in names]
    return min(max(1, max(map(blocks.count, set(blocks)))), 8)


def _shortened(name: str) -> str:
    return name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME:]}"


def _shrunk(mask: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    """Share of alive weights under each pixel, as a colour between the two."""
    from PIL import Image

    whole = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
    box = Image.Resampling.BOX if max(size) <= max(mask.shape) else Image.Resampling.NEAREST
    share = np.asarray(whole.resize((size[1], size[0]), box), np.float64)[..., None] / 255
    return (share * np.array(ALIVE) + (1 - share) * np.array(DEAD)).round().astype(np.uint8)


def write_image(path: str | os.PathLike, image: Image.Image) -> Path:
    """Write an image as PNG, whole or not at all.

    Parameters
    ----------
    path : path
        Ends in ``.png``; its folder must be there.

    Raises
    ------
    InputError
        If the name ends otherwise, or it cannot be written.
    """
    target = Path(path)
    if target.suffix.lower() != ".png":
        raise InputError(f"image {target}: expected a name that ends in .png, "
                         f"found {target.suffix or 'no ending'}")
    data = io.BytesIO()
    image.save(data, "PNG", optimize=True)
    with room_to_write(target):
        write_whole(target, data.getvalue())
    return target
