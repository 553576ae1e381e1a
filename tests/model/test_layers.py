"""Linear layers are found through the model, and their role through a trace."""
import pytest
import torch
from transformers import BertConfig, BertModel, GPT2Config, GPT2Model, MambaConfig, MambaModel

from sparseloom.model.errors import InputError
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.names import block_index, block_layers

from .tiny import KINDS, LAYER_NAMES, LAYERS, tiny_model

ROLES = ("bytes", "bytes", "bytes", "sums", "table", "sums")


def role(linear) -> str:
    return "table" if linear.activation else "sums" if linear.residual else "bytes"


@pytest.mark.parametrize("labels", [0, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_every_linear_of_the_encoder_and_no_other(kind, labels):
    model = tiny_model(kind, labels=labels)
    found = encoder_layers(model)
    assert [linear.name for linear in found] == LAYER_NAMES[kind]
    assert [role(linear) for linear in found] == list(ROLES * LAYERS)
    assert [linear.block for linear in found] == [i for i in range(LAYERS) for _ in ROLES]
    base = base_model(model)
    for linear in found:
        assert base.get_submodule(linear.name) is linear.module
        if linear.activation:
            x = torch.linspace(-3, 3, 7)
            assert torch.equal(base.get_submodule(linear.activation)(x),
                               torch.nn.functional.gelu(x))


@pytest.mark.parametrize("act", ["gelu_new", "relu", "gelu_fast"])
def test_activation_is_found_whatever_it_is(act):
    found = encoder_layers(tiny_model(act=act))
    assert [linear.name for linear in found if linear.activation] == LAYER_NAMES["bert"][4::6]


def test_trace_changes_nothing():
    model = tiny_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    encoder_layers(model)
    assert model.training and all(part.training for part in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(part._forward_hooks for part in model.modules())


@pytest.mark.parametrize("model", [
    MambaModel(MambaConfig(num_hidden_layers=2, hidden_size=16, state_size=4, vocab_size=40)),
    torch.nn.Sequential(torch.nn.Linear(3, 3)),
], ids=["state space", "no encoder"])
def test_no_attention(model):
    with pytest.raises(InputError, match=r"^checkpoint: expected a transformer encoder, found "
                                         r"\w+ without attention heads$"):
        encoder_layers(model)


@pytest.mark.parametrize("model", [
    GPT2Model(GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=40)),  # Conv1D, no Linear
    BertModel(BertConfig(num_hidden_layers=0, hidden_size=16, num_attention_heads=2,
                         intermediate_size=16, vocab_size=40)),
], ids=["gpt2", "no layers"])
def test_no_encoder_linears(model):
    with pytest.raises(InputError, match=r"^checkpoint: expected an encoder with Linear layers, "
                                         r"found none in \w+$"):
        encoder_layers(model)


@pytest.mark.parametrize("error", [
    IndexError("index out of range in self"), AttributeError("no images"), KeyError("pixels"),
    RuntimeError(f"sizes differ\n{'at' * 300}"), NotImplementedError(), AssertionError()],
    ids=lambda error: type(error).__name__)
def test_a_model_that_takes_something_else(monkeypatch, error):
    model = tiny_model().train()

    def forward(**_):
        raise error

    monkeypatch.setattr(model, "forward", forward)
    with pytest.raises(InputError) as problem:
        encoder_layers(model)
    message = str(problem.value)
    assert message.startswith("checkpoint: expected an encoder that takes token ids, found "
                              "BertModel: ")
    assert "\n" not in message and (str(error).split("\n")[0] or type(error).__name__) in message
    assert model.training and not any(part._forward_hooks for part in model.modules())


def test_a_vocabulary_of_one():
    """A real one that fails: the trace's token is not in it."""
    model = BertModel(BertConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2,
                                 intermediate_size=16, vocab_size=1))
    with pytest.raises(InputError, match="found BertModel: index out of range"):
        encoder_layers(model)


def test_names_without_torch():
    names = LAYER_NAMES["bert"]
    assert block_layers(names, 1) == names[6:]
    assert block_layers(names, 2) == []
    assert [block_index(name) for name in ("a.12.b", "3.x", "pooler.dense", "a1.b")] == [
        12, 3, None, None]
