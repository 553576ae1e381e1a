"""The model card: what a checkpoint is, how it was made and what it scores. No torch."""
from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloom.model.tasks import Task

CARD_FILE = "README.md"
UNKNOWN = "unknown"
GLUE = ("cola", "sst2", "mrpc", "qqp", "stsb", "mnli", "qnli", "rte", "wnli")
GLUE_DATA_SET = "nyu-mll/glue"
W4A8 = "w4a8"
METRICS = {"accuracy": ("accuracy", "Accuracy"), "f1": ("f1", "F1"),
           "matthews": ("matthews_correlation", "Matthews correlation"),
           "spearman": ("spearmanr", "Spearman correlation"),
           "pearson": ("pearsonr", "Pearson correlation")}
"""Our metrics: what the hub calls them, and what people do."""
METHODS = {"reweighted": "group Lasso with reweighting (arXiv 2009.08065), hard prune, masked "
                         "retraining",
           "lasso": "group Lasso without reweighting, hard prune, masked retraining",
           "magnitude": "one-shot pruning by the norms of groups, masked retraining",
           "movement": "movement pruning of groups (arXiv 2109.04838), masked retraining",
           "random": "groups chosen at random, masked retraining"}
SCORES = ("dense", "finetuned", "pruned", "integer")
"""Columns of the table of scores, as far as they are known."""
_HUB_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")
_LOCAL = re.compile(r"(?:[A-Za-z]:[\\/]|[\\/~]|\.\.?[\\/]|file:)")
_PATH_KEYS = ("_dir", "_file", "_path", "_folder")
_LIBRARY_TAGS = {"sentence-transformers", "transformers", "feature-extraction", "autotrain",
                 "sentence-similarity", "text-embeddings-inference", "generated_from_trainer",
                 "text-classification", "fill-mask", "onnx", "openvino", "tf", "jax", "rust",
                 "safetensors", "pytorch", "coreml", "exbert", "sparseloom", "pruned", "int8",
                 W4A8}
"""Tags that speak of the source's files, not of what it knows."""


def read_source_card(folder: str | Path) -> dict[str, Any]:
    """Licence, base model and tags from the front matter of a checkpoint's ``README.md``.

    Parameters
    ----------
    folder : str or path
        A checkpoint folder, or a hub name whose card the local cache may hold; no network is
        asked.

    Returns
    -------
    dict
        ``license`` and ``base_model`` (``unknown`` where the card does not say, or names a local
        path), ``tags`` (those that speak of the model, not of its files), and ``license_name``,
        ``license_link`` and ``language`` where there are any.
    """
    found: dict[str, Any] = {"license": UNKNOWN, "base_model": UNKNOWN, "tags": []}
    data = _front_matter(_card_text(folder))
    for key in ("license", "base_model"):
        value = data.get(key)
        if isinstance(value, list) and value:
            value = value[0]
        if isinstance(value, str) and _HUB_NAME.fullmatch(value):
            found[key] = value
    tags = data.get("tags")
    found["tags"] = [tag for tag in (tags if isinstance(tags, list) else [tags])
                     if isinstance(tag, str) and tag not in _LIBRARY_TAGS
                     and not tag.startswith(("dataset:", "loss:", "region:"))]
    for key in ("license_name", "license_link", "language"):
        if (value := data.get(key)) and isinstance(value, (str, list)) and not is_local(value):
            found[key] = value
    return found


def _card_text(ref: str | Path) -> str:
    path = Path(ref) / CARD_FILE
    try:
        if Path(ref).is_dir():
            return path.read_text(encoding="utf-8") if path.is_file() else ""
        if not _HUB_NAME.fullmatch(str(ref)):
            return ""
        from huggingface_hub import try_to_load_from_cache
        cached = try_to_load_from_cache(str(ref), CARD_FILE)
        return Path(cached).read_text(encoding="utf-8") if isinstance(cached, str) else ""
    except (OSError, ValueError):  # a card that cannot be read says nothing
        return ""


def _front_matter(text: str) -> dict[str, Any]:
    import yaml
    found = re.match(r"\ufeff?\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*(?:\r?\n|$)", text, re.DOTALL)
    try:
        data = yaml.safe_load(found[1]) if found else None
    except (yaml.YAMLError, ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def is_local(value: object) -> bool:
    """Whether a text names a place on somebody's machine."""
    return isinstance(value, str) and _LOCAL.match(value) is not None


def without_paths(data: Any) -> Any:
    """Plain data in which every local path is only its last part."""
    if isinstance(data, Mapping):
        return {key: without_paths(value) for key, value in data.items()}
    if isinstance(data, (list, tuple)):
        return [without_paths(value) for value in data]
    if isinstance(data, str) and is_local(data):
        return re.split(r"[\\/]", data.rstrip("\\/"))[-1]
    return data


def scores_of(note: Mapping[str, Any] | None, metric: str) -> dict[str, dict[str, float]]:
    """The ``score`` record of a note: by model state (:data:`SCORES`), then by metric.

    A first version's note holds one number a state, of the task's metric; one of numbers by
    metric alone belongs to a fine-tuned model.
    """
    score = (note or {}).get("score")
    states: Mapping[str, Any] = score if isinstance(score, Mapping) else {}
    if states and set(states) <= set(METRICS):
        states = {"finetuned": states}
    out: dict[str, dict[str, float]] = {}
    for state, value in states.items():
        values = value if isinstance(value, Mapping) else {metric: value}
        known = {key: float(number) for key, number in values.items() if number is not None}
        if known:
            out[state] = known
    return out


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How many parameters there are, in the encoder's Linears and in the whole model.

    Parameters
    ----------
    encoder, encoder_alive : int
        Weights of the encoder's Linear layers, and those in surviving groups.
    model, model_alive : int
        All parameters, and those that are not pruned: biases, embeddings and head included.
    """

    encoder: int
    encoder_alive: int
    model: int
    model_alive: int

    @property
    def encoder_compression(self) -> float:
        """All over surviving; infinite where nothing survived."""
        return self.encoder / self.encoder_alive if self.encoder_alive else float("inf")

    @property
    def model_compression(self) -> float:
        """All over surviving."""
        return self.model / self.model_alive if self.model_alive else float("inf")


def make_card(name: str, task: Task, *, source: Mapping[str, Any],
              pruning: Mapping[str, Any] | None = None,
              training: Mapping[str, Any] | None = None,
              metadata: Mapping[str, Any] | None = None, sizes: Sizes | None = None) -> str:
    """The card, in Markdown with a YAML front matter that the hub reads.

    Parameters
    ----------
    name : str
        The hub name of the source, or its folder's last part.
    task : Task
    source : mapping
        What :func:`read_source_card` found.
    pruning, training, metadata : mapping, optional
        What ``pruning.json``, ``training.json`` and ``sparseloom.safetensors`` say. A checkpoint
        without the first is dense, one without the last has no integer model.
    sizes : Sizes, optional

    Returns
    -------
    str
    """
    from huggingface_hub import ModelCard

    scores: dict[str, dict[str, float]] = {}
    for note in (training if pruning is None else None, pruning, metadata):
        scores |= scores_of(note, task.metric)
    notes = [note for note in (pruning, training) if note]
    title = f"{_short(name)}-{_slug(task.name)}"
    if pruning is not None:
        title += "-pruned"
    if metadata is not None:
        title += f"-{_width(metadata)}"
    data = _card_data(title, name, task, source, scores, pruned=pruning is not None,
                      integer=None if metadata is None else _width(metadata))
    text = "\n\n".join(part for part in (
        f"# {title}",
        _intro(name, task, pruning, metadata, sizes),
        _origin(name, source),
        "## How it was made\n\n" + "\n".join(_making(notes, pruning, metadata)),
        "## Data\n\n" + _data(task),
        "## Scores\n\n" + _scores_table(task, scores),
        _densities(pruning, metadata),
        "## Usage\n\n" + _usage(title, task, metadata is not None),
        "## Limits\n\n" + _limits(task, pruning, metadata),
    ) if part)
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{text}\n"))
    finally:
        logger.setLevel(level)


def _short(name: str) -> str:
    return _slug(re.split(r"[\\/]", name.rstrip("\\/"))[-1])


def _slug(text: str) -> str:
    return re.sub(r"[^\w.-]+", "-", text).strip("-.") or "model"


def base_of(name: str, source: Mapping[str, Any]) -> str:
    """The base model: the source itself if it has a hub name, else what its card says."""
    if "/" in name and _HUB_NAME.fullmatch(name):
        return name
    return str(source.get("base_model") or UNKNOWN)


def _card_data(title: str, name: str, task: Task, source: Mapping[str, Any],
               scores: Mapping[str, Mapping[str, float]], *, pruned: bool,
               integer: str | None) -> Any:
    from huggingface_hub import EvalResult, ModelCardData

    glue = task.name in GLUE
    kind, kind_name = {"cosine": ("sentence-similarity", "Sentence similarity")}.get(
        task.head, ("text-classification", "Text classification"))
    here = [("pruned", "") if pruned else ("finetuned", "")]
    here += [("integer", f" ({integer})")] if integer else []
    if not pruned and "finetuned" not in scores:
        here = [("dense", ""), *here[1:]]
    results = [
        EvalResult(task_type=kind, task_name=kind_name,
                   dataset_type=GLUE_DATA_SET if glue else _slug(task.name),
                   dataset_name=f"GLUE {task.name}" if glue else task.name,
                   dataset_config=task.name if glue else None, dataset_split="validation",
                   metric_type=METRICS.get(metric, (metric, metric))[0],
                   metric_name=METRICS.get(metric, (metric, metric))[1] + suffix,
                   metric_value=float(value))
        for state, suffix in here for metric, value in scores.get(state, {}).items()]
    tags = ["sparseloom"]
    tags += ["pruned"] if pruned else []
    tags += [integer] if integer else []
    base = base_of(name, source)
    return ModelCardData(
        base_model=None if base == UNKNOWN else base, license=source.get("license") or UNKNOWN,
        license_name=source.get("license_name"), license_link=source.get("license_link"),
        language=source.get("language"), library_name="transformers",
        tags=[*tags, *source.get("tags", ())],
        datasets=[GLUE_DATA_SET] if glue else None,
        metrics=[METRICS.get(metric, (metric, metric))[0] for metric in task.metrics],
        pipeline_tag="feature-extraction" if task.head == "cosine" else "text-classification",
        model_name=title, eval_results=results or None)


def _width(metadata: Mapping[str, Any]) -> str:
    """What integers a folder holds, as people call them."""
    return W4A8 if metadata.get("quantize", {}).get("weight_bits") == 4 else "int8"


def _intro(name: str, task: Task, pruning: Mapping[str, Any] | None,
           metadata: Mapping[str, Any] | None, sizes: Sizes | None) -> str:
    lines = []
    if pruning is None:
        lines.append(f"`{_plain(name)}`, for the task `{_plain(task.name)}`. A dense checkpoint: "
                     "nothing is pruned.")
    else:
        lines.append(
            f"`{_plain(name)}`, pruned by Sparseloom for the task `{_plain(task.name)}`. An "
            "ordinary Hugging Face checkpoint: plain `from_pretrained` loads it; pruned weights "
            "are zeros in place.")
        lines += ["", "| compression | all weights over surviving ones |", "|---|---|",
                  f"| the encoder's Linear layers | {pruning['compression']:.2f}× |"]
        if sizes is not None:
            lines.append("| the whole model, embeddings and head included | "
                         f"{sizes.model_compression:.2f}× |")
    if metadata is not None:
        lines += ["", "`sparseloom.safetensors` holds the encoder's Linear layers as integers: "
                  f"{'4-bit' if _width(metadata) == W4A8 else 'int8'} weights per channel, int8 "
                  "activations per tensor."]
    return "\n".join(lines)


def _origin(name: str, source: Mapping[str, Any]) -> str:
    base, licence = base_of(name, source), source.get("license") or UNKNOWN
    said = "- Base model: " + (f"`{base}`." if base != UNKNOWN else
                               "unknown; the source checkpoint's card does not name it.")
    return said + "\n- Licence: " + (
        f"`{licence}`, as the source checkpoint's card says." if licence != UNKNOWN else
        "unknown; the source checkpoint's card names none. Find out before you pass it on.")


def _making(notes: Sequence[Mapping[str, Any]], pruning: Mapping[str, Any] | None,
            metadata: Mapping[str, Any] | None) -> Iterator[str]:
    if pruning is not None:
        structure, p, q = pruning["structure"], pruning["p"], pruning["q"]
        group = {"column": f"{p} × 1", "block": f"{p} × {q}", "row": f"1 × {q}"}.get(structure)
        size = f", {group} weights each" if group else ""
        yield (f"- Structure: `{structure}` groups{size}, in blocks of p × q = {p} outputs × "
               f"{q} inputs")
        settings = pruning.get("prune")
        method = settings.get("method", "reweighted") if isinstance(settings, Mapping) else None
        if method:
            yield f"- Method: {METHODS.get(method, _plain(str(method)))}"
    seeds = {}
    for note in notes:
        schedule = note.get("train")
        if isinstance(schedule, Mapping):
            flat = dict(_scalars(schedule))
            seeds |= {value: None for key, value in flat.items()
                      if key.rsplit(".", 1)[-1] == "seed"}
    if seeds:
        yield f"- Seed: {', '.join(map(str, seeds))}"
    for note in notes:
        for key, title in (("prune", "Pruning"), ("train", "Schedule")):
            if isinstance(note.get(key), Mapping):
                yield f"- {title}: {_settings(note[key])}"
    quantize = (metadata or {}).get("quantize")
    if isinstance(quantize, Mapping):
        yield f"- Quantisation: {_settings(quantize)}"
    digests = {note["source"]["sha256"]: None for note in notes
               if isinstance(note.get("source"), Mapping) and note["source"].get("sha256")}
    for digest in digests:
        yield f"- Source weights: SHA-256 `{_plain(str(digest))}`"
    if not notes:
        yield "- The weights are those of the source checkpoint."


def _scalars(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by dotted name; none that names a place on this machine."""
    for key, value in data.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{name}.")
        elif isinstance(value, (list, tuple)):
            if not any(map(is_local, value)):
                yield name, ", ".join(map(str, value)) or "none"
        elif not is_local(value) and not name.endswith(_PATH_KEYS):
            yield name, value


def _settings(data: Mapping[str, Any]) -> str:
    return ", ".join(f"`{_plain(key)}` {_plain(_number(value))}"
                     for key, value in _scalars(data) if value is not None)


def _number(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _plain(text: str) -> str:
    """Text that neither ends a code span nor a table's cell."""
    return re.sub(r"[`|\r\n<>]", " ", text)


def _data(task: Task) -> str:
    rows = f"{len(task.train):,} training rows, {len(task.validation):,} validation rows."
    if task.name in GLUE:
        return (f"GLUE task `{task.name}`: {rows} GLUE has no licence of its own: each task keeps "
                "the licence of the data that it was made from.")
    return (f"`{_plain(task.name)}`, not a task of GLUE: {rows} The licence of these data is not "
            "known here.")


def _scores_table(task: Task, scores: Mapping[str, Mapping[str, float]]) -> str:
    states = [state for state in SCORES if state in scores]
    states += sorted(set(scores) - set(states))
    if not states:
        return "None were computed."
    metrics = dict.fromkeys((*task.metrics, *(name for state in states for name in scores[state])))
    lines = ["| " + " | ".join(["", *map(_plain, states)]) + " |",
             "|---" * (len(states) + 1) + "|"]
    for metric in metrics:
        cells = [f"{scores[state][metric]:.4f}" if metric in scores[state] else "–"
                 for state in states]
        lines.append("| " + " | ".join([METRICS.get(metric, ("", _plain(metric)))[1], *cells])
                     + " |")
    legend = [f"*{state}*: {words}" for state, words in (
        ("dense", "before pruning" if "pruned" in states else "nothing pruned"),
        ("integer", "the integer model")) if state in states]
    lines += ["", " ".join(["On all validation rows, 1 is best.",
                            *([", ".join(legend) + "."] if legend else [])])]
    return "\n".join(lines)


def _densities(pruning: Mapping[str, Any] | None, metadata: Mapping[str, Any] | None) -> str:
    found = next((note["densities"] for note in (metadata, pruning)
                  if note and isinstance(note.get("densities"), Mapping) and note["densities"]),
                 None)
    if found is None:
        return ""
    return "\n".join(["## Layers", "", "| layer | surviving weights |", "|---|---|",
                      *(f"| `{_plain(layer)}` | {share:.1%} |" for layer, share in found.items())])


_POOLED = '''import torch
from transformers import AutoModel, AutoTokenizer

name = "{title}"  # this folder, or the name it has on the hub
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModel.from_pretrained(name).eval()
batch = tokenizer(["The cat sleeps.", "A cat is asleep."], padding=True, truncation=True,
                  return_tensors="pt")
with torch.inference_mode():
    hidden = model(**batch).last_hidden_state
real = batch["attention_mask"].unsqueeze(-1)
vectors = (hidden * real).sum(dim=1) / real.sum(dim=1)  # the mean of each one's own tokens
print(torch.nn.functional.cosine_similarity(vectors[0], vectors[1], dim=0).item())'''

_CLASSES = '''import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

name = "{title}"  # this folder, or the name it has on the hub
tokenizer = AutoTokenizer.from_pretrained(name)
model = AutoModelForSequenceClassification.from_pretrained(name).eval()
batch = tokenizer({texts}, truncation=True, return_tensors="pt")
with torch.inference_mode():
    logits = model(**batch).logits
print({answer})'''


def _usage(title: str, task: Task, integer: bool) -> str:
    if task.head == "cosine":
        code = _POOLED.format(title=title)
    else:
        rows = task.validation or task.train
        pair = bool(rows) and len(rows[0].sentences) == 2
        code = _CLASSES.format(
            title=title,
            texts='"The cat sleeps.", "A cat is asleep."' if pair else '"A film to remember."',
            answer="logits[0, 0].item()" if task.head == "regression"
                   else "model.config.id2label[logits.argmax(dim=1).item()]")
    text = f"```python\n{code}\n```"
    if integer:
        text += ("\n\nThat is the float model. `sparseloom model eval` runs the integers, "
                 "`sparseloom model show` lists the packed layers.")
    return text


def _limits(task: Task, pruning: Mapping[str, Any] | None,
            metadata: Mapping[str, Any] | None) -> str:
    lines = [f"- Trained and scored on `{_plain(task.name)}` alone; nothing is known of other "
             "data.",
             "- The scores are of validation rows, of one run with one seed. GLUE's test labels "
             "are not public." if task.name in GLUE else
             "- The scores are of validation rows, of one run with one seed."]
    if pruning is not None:
        lines.append("- Zeros in place save neither memory nor time in a dense runtime; the "
                     "masks pay off in hardware or kernels that skip dead groups.")
        lines.append("- What the source model got wrong or learned with bias, the pruned one may "
                     "get wrong more often, and not evenly.")
    if metadata is not None:
        lines.append("- The integer model covers the encoder's Linear layers; what lies between "
                     "them stays in floating point.")
    return "\n".join(lines)
