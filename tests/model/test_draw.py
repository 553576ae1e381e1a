"""Images hold every bit of a mask, and differ for everybody's eyes."""
import io

import numpy as np
import pytest
from PIL import Image

from sparseloom.model import draw
from sparseloom.model.draw import ALIVE, DEAD, LINE, draw_mask, draw_sheet, write_image
from sparseloom.model.errors import InputError

from .test_masks import random_mask

P, Q = 3, 5


def alive(image):
    pixels = np.asarray(image)
    found = (pixels == ALIVE).all(axis=2)
    assert (found | (pixels == DEAD).all(axis=2)).all()
    return found


@pytest.mark.parametrize("structure", ["column", "block", "row"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_one_square_a_weight(structure, share):
    mask = random_mask((9, 20), structure, share=share)
    image = draw_mask(mask, structure=structure, p=P, q=Q)
    assert image.size == (20 * 25, 9 * 25) and image.info["pixel"] == "weight"
    found = alive(image)
    assert np.array_equal(found[::25, ::25], mask)
    assert np.array_equal(found, mask.repeat(25, axis=0).repeat(25, axis=1))


@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_one_pixel_a_group_where_large(structure, monkeypatch):
    monkeypatch.setattr(draw, "LARGE_SIDE", 10)
    monkeypatch.setattr(draw, "SMALL_SIDE", 1)
    mask = random_mask((7, 11), structure)
    rows, cols = {"column": (3, 1), "block": (3, 5), "row": (1, 5)}[structure]
    image = draw_mask(mask, structure=structure, p=P, q=Q)
    assert np.array_equal(alive(image), mask[::rows, ::cols]) and image.info["pixel"] == "group"


def test_lines_between_strips():
    mask = random_mask((9, 20), "column")
    plain = np.asarray(draw_mask(mask, structure="column", p=P, q=Q))
    lined = np.asarray(draw_mask(mask, structure="column", lines=True, p=P, q=Q))
    places = np.flatnonzero((lined == LINE).all(axis=(1, 2)))
    assert places.tolist() == [75, 151]
    assert np.array_equal(np.delete(lined, places, axis=0), plain)


def test_colours_differ_in_brightness():
    """WCAG's contrast of at least 3, so that no eye depends on hue."""
    def luminance(colour):
        parts = [c / 255 / 12.92 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4
                 for c in colour]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]
    assert (luminance(DEAD) + 0.05) / (luminance(ALIVE) + 0.05) > 3


def test_sheet():
    masks = {f"encoder.layer.{block}.{part}": random_mask(shape, "column", seed=block)
             for block in range(2) for part, shape in (("query", (240, 160)), ("ffn", (40, 320)),
                                                       ("a.very.long.name." * 4, (9, 20)))}
    masks["encoder.layer.1.ffn"][:] = False
    masks["encoder.layer.1.query"][:] = True
    sheet = draw_sheet(masks, title="[tiny]")
    pixels = np.asarray(sheet)
    wide, high = sheet.size[0] // 3, (sheet.size[1] - 62) // 2
    def tile(column, row):  # below the two lines of text
        top = 62 + row * high + 32
        return pixels[top:top + 160, column * wide + 12:column * wide + 172].reshape(-1, 3)
    assert (tile(1, 1)[:160 * 20] == DEAD).all()
    full = tile(0, 1).reshape(160, 160, 3)[:, :107]
    assert (full == ALIVE).all()
    mixed = tile(1, 0)[:160 * 20].mean(axis=0)
    share = masks["encoder.layer.0.ffn"].mean()
    assert np.allclose(mixed, share * np.array(ALIVE) + (1 - share) * np.array(DEAD), atol=1)
    text = pixels[62:62 + 32, 12:172]
    assert (text < 128).any()  # something is written over a tile
    one = draw_sheet({"embeddings": random_mask((9, 20), "row")})
    assert one.size[0] < sheet.size[0]


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="masks: expected a layer to draw, found none"):
        draw_sheet({})
    image = draw_mask(random_mask((9, 20), "column"), structure="column", p=P, q=Q)
    with pytest.raises(InputError, match=r"expected a name that ends in \.png, found \.jpg"):
        write_image(tmp_path / "a.jpg", image)
    with pytest.raises(InputError, match=r"none/a.png: expected room to write, found: No such"):
        write_image(tmp_path / "none" / "a.png", image)
    assert not list(tmp_path.iterdir())


def test_written_whole(tmp_path, monkeypatch):
    image = draw_mask(random_mask((9, 20), "column"), structure="column", p=P, q=Q)
    path = write_image(tmp_path / "mask.png", image)
    with Image.open(io.BytesIO(path.read_bytes())) as found:
        assert found.format == "PNG"
        assert np.array_equal(np.asarray(found.convert("RGB")), np.asarray(image))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(draw, "write_whole", full)
    with pytest.raises(InputError, match="expected room to write, found: No space left"):
        write_image(path, image.convert("L"))
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
