"""Tiny random encoders, a tokenizer and task files, made on the spot."""
from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    BertModel,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    DistilBertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForSequenceClassification,
    RobertaModel,
)

from sparseloom.model.tasks import Row, Task

WORDS = ("a", "an", "the", "man", "woman", "child", "dog", "cat", "horse", "is", "was", "runs",
         "sleeps", "eats", "plays", "sings", "in", "on", "under", "with", "house", "tree", "river",
         "ball", "guitar", "bread", "slowly", "quickly", "red", "blue", "old", "young")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
VOCABULARY = {word: index for index, word in enumerate((*SPECIAL, *WORDS))}
HIDDEN, FFN, LAYERS = 48, 96, 2
KINDS = ("bert", "roberta", "distilbert")

BERT_LAYER = ("attention.self.query", "attention.self.key", "attention.self.value",
              "attention.output.dense", "intermediate.dense", "output.dense")
LAYER_NAMES = {
    "bert": [f"encoder.layer.{i}.{part}" for i in range(LAYERS) for part in BERT_LAYER],
    "roberta": [f"encoder.layer.{i}.{part}" for i in range(LAYERS) for part in BERT_LAYER],
    "distilbert": [f"transformer.layer.{i}.{part}" for i in range(LAYERS)
                   for part in ("attention.q_lin", "attention.k_lin", "attention.v_lin",
                                "attention.out_lin", "ffn.lin1", "ffn.lin2")],
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Whole words, [CLS] … [SEP]."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", model_max_length=32, model_input_names=["input_ids", "attention_mask"])


def tiny_model(kind: str = "bert", *, labels: int = 0, seed: int = 0, act: str = "gelu",
               hidden: int = HIDDEN, ffn: int = FFN, depth: int = LAYERS, heads: int = 4) -> Any:
    """A random encoder, with a classification head if ``labels`` is not 0."""
    torch.manual_seed(seed)
    size: dict[str, Any] = {"vocab_size": len(VOCABULARY), "pad_token_id": 0}
    if labels:
        size["num_labels"] = labels
    if kind == "distilbert":
        config = DistilBertConfig(dim=hidden, n_layers=depth, n_heads=heads, hidden_dim=ffn,
                                  max_position_embeddings=40, activation=act, **size)
        model = DistilBertForSequenceClassification if labels else DistilBertModel
    else:
        config, model = {
            "bert": (BertConfig, BertForSequenceClassification if labels else BertModel),
            "roberta": (RobertaConfig,
                        RobertaForSequenceClassification if labels else RobertaModel),
        }[kind]
        config = config(hidden_size=hidden, num_hidden_layers=depth, num_attention_heads=heads,
                        intermediate_size=ffn, max_position_embeddings=40, hidden_act=act, **size)
    made = model(config).eval()
    with torch.no_grad():  # as made, weights are so small that nothing depends on anything
        for parameter in made.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
            elif parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return made


def tiny_checkpoint(folder: Path, kind: str = "bert", **settings: Any) -> Path:
    """A checkpoint folder with a tokenizer; settings as of :func:`tiny_model`."""
    tiny_model(kind, **settings).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def sentence(generator: random.Random) -> str:
    """Three to nine words."""
    return " ".join(generator.choices(WORDS, k=generator.randint(3, 9)))


def similarity_rows(count: int, seed: int = 0) -> list[Row]:
    """Pairs that share some words; the score, 0 to 5, is how many."""
    generator, rows = random.Random(seed), []
    for _ in range(count):
        first = sentence(generator).split()
        kept = generator.randint(0, len(first))
        second = first[:kept] + generator.choices(WORDS, k=len(first) - kept)
        rows.append(Row(sentences=(" ".join(first), " ".join(second)),
                        label=round(5 * kept / len(first), 2)))
    return rows


def similarity_task(train: int = 40, validation: int = 20) -> Task:
    """A task like STS-B, by the cosine of two sentence vectors."""
    return Task(name="stsb", head="cosine", metrics=("spearman", "pearson"), labels=(),
                train=tuple(similarity_rows(train, 1)),
                validation=tuple(similarity_rows(validation, 2)))


def regression_task(train: int = 40, validation: int = 20) -> Task:
    """STS-B as GLUE means it: a score of the two sentences together."""
    return replace(similarity_task(train, validation), head="regression")


def class_task(train: int = 48, validation: int = 24, *, pair: bool = False) -> Task:
    """Does the (second) sentence speak of a dog?"""
    def rows(count: int, seed: int) -> tuple[Row, ...]:
        generator, out = random.Random(seed), []
        for index in range(count):
            words = [word for word in sentence(generator).split() if word != "dog"] or ["the"]
            if index % 2:
                words[0] = "dog"
            text = (sentence(generator),) if pair else ()
            out.append(Row(sentences=(*text, " ".join(words)), label=float(index % 2)))
        return tuple(out)
    return Task(name="mrpc" if pair else "sst2", head="classification",
                metrics=("accuracy", "f1") if pair else ("accuracy",), labels=("0", "1"),
                train=rows(train, 1), validation=rows(validation, 2))


def write_sts(folder: Path, train: int = 40, validation: int = 20) -> Path:
    """STS-B as its package ships it."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = {"train": similarity_rows(train, 1), "dev": similarity_rows(validation, 2)}
    for split, rows in splits.items():
        lines = ["\t".join(("main", "made", "2026", f"{index:04}", f"{row.label:.3f}",
                            *row.sentences)) for index, row in enumerate(rows)]
        (folder / f"sts-{split}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder


def write_jsonl(folder: Path, task: Task) -> Path:
    """A task in the form of GLUE's rows."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in (("train", task.train), ("validation", task.validation)):
        names = ("sentence",) if len(rows[0].sentences) == 1 else ("sentence1", "sentence2")
        lines = [json.dumps({**dict(zip(names, row.sentences, strict=True)), "label": row.label})
                 for row in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder
