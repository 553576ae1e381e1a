"""The images are the masks."""
import base64
import io

import numpy as np
import pytest
from PIL import Image

from sparseloom.model.draw import ALIVE
from sparseloom.sim.page.masks import mask_image, mask_section
from tests.layers import random_layer
from tests.sim.receipts import small_layers


@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_each_weight_is_where_the_image_has_it(structure):
    layer = random_layer(np.random.default_rng(2), inputs=48, outputs=20, p=5, q=8,
                         structure=structure)
    head, _, data = mask_image(layer).partition(",")
    assert head == "data:image/png;base64"
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    scale = image.shape[1] // 48
    assert image.shape == (20 * scale, 48 * scale, 3)
    alive = (image[scale // 2::scale, scale // 2::scale] == ALIVE).all(axis=2)
    np.testing.assert_array_equal(alive, layer.surviving_mask())
    assert 0 < alive.sum() < alive.size


def test_a_dense_layer_is_one_colour():
    layer = random_layer(np.random.default_rng(2), inputs=16, outputs=10, p=5, q=8, density=1.1)
    data = mask_image(layer).partition(",")[2]
    image = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))
    assert (image == ALIVE).all()


def test_every_layer_has_a_tile():
    layers = small_layers()
    body = mask_section(layers).body
    for name, layer in layers.items():
        assert f'data-name="{name}" data-outputs="{layer.out_features}"' in body
        assert f"{layer.density:.1%} alive" in body
    assert body.count("data:image/png") == 2 and "blocks of 10 × 8" in body
