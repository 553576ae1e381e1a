"""Masks of all layers, as images to look into."""
from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from html import escape

from sparseloom.model.draw import ALIVE, DEAD, draw_mask
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.sim.page.parts import Section, paragraph
from sparseloom.sim.report import common_prefix

TITLE = "What survived"


def mask_image(layer: PackedLayer) -> str:
    """A layer's mask as a data URI of a PNG with two colours."""
    image = draw_mask(layer.surviving_mask(), structure=layer.structure, p=layer.p, q=layer.q)
    data = io.BytesIO()
    image.quantize(2).save(data, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def mask_section(layers: Mapping[str, PackedLayer]) -> Section:
    """Small images to choose from, a large one to zoom."""
    prefix = common_prefix(list(layers))
    tiles = []
    for name, layer in layers.items():
        outputs, inputs = layer.out_features, layer.in_features
        what = f"{outputs} × {inputs}, {layer.density:.1%} alive"
        tiles.append(
            f'<button type="button" class="tile" data-name="{escape(name)}" '
            f'data-outputs="{outputs}" data-inputs="{inputs}" data-what="{what}">'
            f'<img src="{mask_image(layer)}" alt="mask of {escape(name)}">'
            f"<span>{escape(name.removeprefix(prefix))}</span><small>{what}</small></button>")
    first = next(iter(layers.values()))
    alive, dead = (f"rgb{colour}" for colour in (ALIVE, DEAD))
    return Section(name="masks", title=TITLE, body=(
        paragraph(f"Each image is a weight matrix: outputs downwards, inputs to the right. Groups "
                  f"are {first.structure}s of blocks of {first.p} × {first.q}. Choose a layer; "
                  "wheel, pinch or the buttons zoom, dragging moves.")
        + f'<p class="key"><i style="background:{alive}"></i> alive '
          f'<i style="background:{dead}"></i> pruned</p>'
          '<div id="viewer"><div class="bar"><b></b> <span></span>'
          '<button type="button" data-zoom="2" aria-label="zoom in">+</button>'
          '<button type="button" data-zoom="0.5" aria-label="zoom out">&minus;</button>'
          '<button type="button" data-zoom="0">whole</button></div>'
          '<div class="view"><img alt=""></div><p class="where" aria-live="polite"></p></div>'
        + f'<div class="tiles">{"".join(tiles)}</div>'))
