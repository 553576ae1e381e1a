"""What metadata say of attention: written, read, refused, put among the layers."""
import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.flow import quantize_checkpoint
from sparseloom.model.packed.artefact import read_artefact
from sparseloom.model.products import Attention, read_attention, with_products

from .tiny import KINDS, LAYER_NAMES, LAYERS, similarity_task, tiny_checkpoint


@pytest.fixture(scope="module", params=KINDS)
def artefact(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    quantize_checkpoint(tiny_checkpoint(root / "c", request.param), similarity_task(), root / "a",
                        evaluate=False)
    return request.param, read_artefact(root / "a")


def test_an_artefact_says_which_products_there_are(artefact):
    kind, found = artefact
    noted = read_attention(found.metadata, found.layers)
    names = LAYER_NAMES[kind]
    assert [(one.query, one.key, one.value) for one in noted] == [
        tuple(names[6 * block:6 * block + 3]) for block in range(LAYERS)]
    assert all((one.heads, one.head_size) == (4, 12) for one in noted)
    rows = with_products(found.layers, noted, 7)
    prefix = names[0].rpartition(".")[0]
    assert list(rows)[:6] == [*names[:3], f"{prefix}.scores", f"{prefix}.context", names[3]]
    assert len(rows) == len(names) + 2 * LAYERS
    scores, context = list(rows.values())[3:5]
    assert (scores.out_features, scores.in_features) == (7, 12)
    assert (context.out_features, context.in_features) == (12, 7)
    assert (scores.heads, scores.density, scores.weight_bits) == (4, 1, 8)


def test_without_a_word_there_are_none(artefact):
    _, found = artefact
    assert read_attention({}, found.layers) == []
    assert with_products(found.layers, [], 7) == dict(found.layers)


@pytest.mark.parametrize(("change", "message"), [
    ({"heads": 5}, r"layer .*: expected heads of 48 outputs together, found 5 of 12"),
    ({"heads": -4, "head_size": -12}, "found -4 of -12"),
    ({"heads": 4.0}, "found 4.0 of 12"),
    ({"key": "nobody"}, "the artefact's query, key and value layers, found otherwise: KeyError"),
    ({"size": 3}, "expected heads, head_size and .*, found otherwise: TypeError"),
])
def test_what_does_not_add_up(artefact, change, message):
    kind, found = artefact
    query, key, value = LAYER_NAMES[kind][:3]
    good = Attention(name="a", query=query, key=key, value=value, heads=4, head_size=12)
    assert read_attention({"attention": [good.as_dict()]}, found.layers) == [good]
    with pytest.raises(InputError, match=message):
        read_attention({"attention": [{**good.as_dict(), **change}]}, found.layers)


@pytest.mark.parametrize("noted", [3, [3], "x"])
def test_what_is_no_list(artefact, noted):
    with pytest.raises(InputError, match="metadata, attention: expected heads, head_size and the"):
        read_attention({"attention": noted}, artefact[1].layers)


def test_as_many_tokens_as_a_layer_has_outputs(artefact):
    _, found = artefact
    with pytest.raises(InputError, match="tokens: expected 1 to 65535, found 65536"):
        with_products(found.layers, read_attention(found.metadata, found.layers), 65536)
