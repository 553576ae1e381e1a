"""A whole encoder on the unit: every matrix product on a backend, answers compared bit for bit."""
from __future__ import annotations

import copy
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from torch import nn

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.attention import UnitAttention
from sparseloom.model.checkpoint import load_checkpoint
from sparseloom.model.encode import Encoder, Item
from sparseloom.model.errors import InputError
from sparseloom.model.export import TaskNote, read_task_note
from sparseloom.model.heads import Head, head_of
from sparseloom.model.integer_model import IntegerLinear, make_integer
from sparseloom.model.layers import attention_layers, base_model, encoder_layers
from sparseloom.model.packed.artefact import Artefact, read_artefact
from sparseloom.model.tasks import Task
from sparseloom.sim.backends import Backend, BoardBackend, ComparedBackend, RtlBackend
from sparseloom.sim.layer_queues import Difference

BACKENDS = ("oracle", "rtl", "board")


def offload(model: nn.Module, artefact: Artefact | str | Path, backend: Backend | str = "oracle",
            *, port: str | None = None, baud: int = 1_000_000) -> nn.Module:
    """Have a backend compute every matrix product of an encoder, in place.

    Softmax, LayerNorm, residuals, embeddings and head stay on the host in float32. The bits of a
    sentence do not depend on its batch or padding, which is never sent.

    Parameters
    ----------
    model : nn.Module
        A Hugging Face encoder, with or without a head, whose weights the artefact was made of.
    artefact : Artefact or path
        The packed layers, or their folder.
    backend : Backend or str
        ``oracle``: integers in PyTorch. ``rtl``: the generated Verilog of the reference build, with
        memories large enough for the layers, in a process that lives as long as the model.
        ``board``: the unit of the board at ``port``. Or a backend, such as
        :class:`~.backends.RtlBackend` of a build of one's own.
    port : str, optional
        Serial port of the board, for ``board`` alone.
    baud : int
        Of the port, as the bitstream was built.

    Returns
    -------
    nn.Module
        The same model.

    Raises
    ------
    InputError
        If the artefact is of another model, attention's products cannot be taken to the unit, the
        backend cannot compute a layer (as where a board's unit takes fewer inputs), or the port
        cannot be opened.
    LinkError
        If nobody answers at the port.
    """
    if not isinstance(artefact, Artefact):
        artefact = read_artefact(artefact)
    if (backend == "board") != (port is not None):
        raise InputError(f"port: expected a board's serial port exactly for backend board, found "
                         f"{port or 'none'} for "
                         f"{backend if isinstance(backend, str) else type(backend).__name__}")
    chosen = _backend_of(backend, artefact, port, baud) if isinstance(backend, str) else backend
    if chosen is not None:
        chosen.check(artefact.layers)
    base: Any = base_model(model)
    if not hasattr(base, "set_attn_implementation") or not attention_layers(encoder_layers(model)):
        raise InputError(f"attention: expected queries, keys and values of each encoder layer "
                         f"straight from Linear layers, and a function that can be chosen, found "
                         f"otherwise in {type(base).__name__}")
    make_integer(model, artefact.layers)
    _check_attention(base)
    if chosen is not None:
        for part in base.modules():
            if isinstance(part, (IntegerLinear, UnitAttention)):
                part.run = chosen.run
    return model


def _backend_of(name: str, artefact: Artefact, port: str | None, baud: int) -> Backend | None:
    """A backend by its name; None is PyTorch."""
    if name == "oracle":
        return None
    if name == "rtl":
        return RtlBackend(config_for(artefact))
    if name == "board" and port is not None:
        return BoardBackend.open(port, baud=baud)
    raise InputError(f"backend: expected one of {', '.join(BACKENDS)}, found {name}")


def config_for(artefact: Artefact, **others: Any) -> ArrayConfig:
    """The reference build, with memories large enough for the layers."""
    defaults = ArrayConfig(**others)
    max_k = max(defaults.max_k, *(layer.in_features for layer in artefact.layers.values()))
    return ArrayConfig(**{**others, "max_k": max_k, "act_words": max(defaults.act_words, max_k)})


def _check_attention(base: Any) -> None:
    """The model's attention really goes through our function, in each encoder layer."""
    ids = torch.ones(1, 2, dtype=torch.int64)
    with torch.inference_mode():
        base(input_ids=ids, attention_mask=torch.ones_like(ids))
    for part in base.modules():
        if isinstance(part, UnitAttention):
            if part.calls != 1:
                raise InputError(f"attention {part.name}: expected one call for a sentence, found "
                                 f"{part.calls}")
            part.calls = 0


@dataclass(frozen=True, kw_only=True)
class SentenceRun:
    """What one sentence, or pair, gave.

    Parameters
    ----------
    tokens : int
        Special ones included.
    products : int
        Layers run, each head of attention's two products one of them.
    integers, mismatches : int
        Results compared with the oracle's, and those that differ.
    equal : bool
        The final answer, logits or a sentence vector, has the oracle model's bits.
    cycles : int, optional
        Of the unit, where it counts them: the sum over queues, each on the idle unit.
    seconds : float
        Wall time of the model on the backend, comparison included.
    """

    tokens: int
    products: int
    integers: int
    mismatches: int
    equal: bool
    cycles: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class OffloadRun:
    """What sentences gave on a backend.

    Parameters
    ----------
    backend : str
    layers : int
        Linear layers of the encoder.
    products : int
        Distinct products, those of attention included, that ran.
    sentences : list of SentenceRun
    difference : Difference, optional
        The first integer that is not the oracle's.
    answer_values : int
        Float32 values of final answers compared.
    build_seconds, seconds : float
        Wall time: until the backend was there; of all sentences on it.
    """

    backend: str
    layers: int
    products: int
    sentences: list[SentenceRun]
    difference: Difference | None
    answer_values: int
    build_seconds: float
    seconds: float

    @property
    def integers(self) -> int:
        """Results compared."""
        return sum(one.integers for one in self.sentences)

    @property
    def mismatches(self) -> int:
        """Results that differ."""
        return sum(one.mismatches for one in self.sentences)

    @property
    def exact(self) -> bool:
        """Every integer and every bit of every answer is the oracle's."""
        return (bool(self.sentences) and self.integers > 0 and not self.mismatches
                and all(one.equal for one in self.sentences))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "exact": self.exact, "integers": self.integers,
                "mismatches": self.mismatches}

    def show(self, console: Console) -> None:
        """Print a table of the sentences, and what was compared."""
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for heading in ("sentence", "tokens", "products", "cycles", "integers", "mismatches",
                        "seconds", "answer"):
            table.add_column(heading, justify="right", no_wrap=True)
        for index, one in enumerate(self.sentences):
            table.add_row(
                str(index), str(one.tokens), f"{one.products:,}",
                "" if one.cycles is None else f"{one.cycles:,}", f"{one.integers:,}",
                f"{one.mismatches:,}", f"{one.seconds:.1f}", "equal" if one.equal else "DIFFERS")
        console.print(table, markup=False)
        equal = sum(one.equal for one in self.sentences)
        console.print(
            f"{self.backend} beside the oracle: {self.integers:,} integers compared, "
            f"{self.mismatches:,} differ; answers of {equal} of {len(self.sentences)} sentences "
            f"equal bit for bit ({self.answer_values:,} float32 values); {self.seconds:.1f} s",
            highlight=False)
        if self.difference is not None:
            console.print(f"the first difference: {self.difference}", highlight=False,
                          markup=False)


def choose_items(note: TaskNote, count: int | None, sentences: Sequence[str] | None) -> list[Item]:
    """What to run: the folder's own validation examples, or given sentences.

    Raises
    ------
    InputError
        If there are fewer than ``count``.
    """
    items = [(text,) for text in sentences] if sentences is not None else list(note.examples)
    if note.head == "cosine":
        items = [(text,) for item in items for text in item]
    items = list(dict.fromkeys(items))
    if count is not None and len(items) < count:
        raise InputError(f"count: expected at most {len(items)}, all that there are, found "
                         f"{count}")
    return items[:count]


def run_offload(folder: str | Path, backend: Backend, *, name: str, count: int | None = 1,
                sentences: Sequence[str] | None = None, max_tokens: int | None = None,
                progress: Progress | None = None) -> OffloadRun:
    """Run sentences one by one on a backend and in the integer model; compare everything.

    Every integer that the backend answers is compared with the oracle's answer to the same
    inputs; and the final answer's bits with those of the integer model, which runs by itself.

    Parameters
    ----------
    folder : str or path
        An artefact folder with its checkpoint.
    backend : Backend
    name : str
        Of the backend, for the report.
    count : int, optional
        How many sentences; by default the first one, None: all.
    sentences : sequence of str, optional
        By default the validation examples noted in the folder.
    max_tokens : int, optional
        Longer sentences are cut; by default at the model's own limit.
    progress : rich Progress, optional
        Gets a task that counts sentences.

    Raises
    ------
    InputError, SimulationError
        As of :func:`offload` and the backend.
    """
    artefact = read_artefact(folder)
    note = read_task_note(folder)
    items = choose_items(note, count, sentences)
    checkpoint = load_checkpoint(folder, _task_of(note))
    head = head_of(_task_of(note))
    compared = ComparedBackend(backend)
    plain = offload(copy.deepcopy(checkpoint.model), artefact)
    model = offload(checkpoint.model, artefact, compared)
    encoder = Encoder(checkpoint.tokenizer, min(max_tokens or checkpoint.max_tokens,
                                                checkpoint.max_tokens))
    began = time.perf_counter()
    if isinstance(backend, RtlBackend):
        waiting = None if progress is None else progress.add_task(
            "Verilog and its simulator, kept for the next run", total=None)
        for width in sorted({8, *(layer.weight_bits for layer in artefact.layers.values())}):
            backend.server(width)
        if progress is not None and waiting is not None:
            progress.remove_task(waiting)
    build_seconds = time.perf_counter() - began
    task = None if progress is None else progress.add_task(f"sentences on {name}",
                                                           total=len(items))
    runs, values = [], 0
    for item in items:
        one, size = _run_item(item, head, encoder, plain, model, compared)
        runs.append(one)
        values += size
        if progress is not None and task is not None:
            progress.advance(task)
    return OffloadRun(
        backend=name, layers=len(artefact.layers), products=len(compared.names), sentences=runs,
        difference=compared.found.difference, answer_values=values, build_seconds=build_seconds,
        seconds=sum(one.seconds for one in runs))


def _task_of(note: TaskNote) -> Task:
    """As much of a task as a head needs."""
    return Task(name=note.name, head=note.head, metrics=note.metrics, labels=note.labels,
                train=(), validation=())


def _run_item(item: Item, head: Head, encoder: Encoder, plain: nn.Module, model: nn.Module,
              compared: ComparedBackend) -> tuple[SentenceRun, int]:
    """One sentence, and how many values its answer has."""
    batch = encoder.batch([item])
    before, cycles = compared.found, _cycles(compared.backend)
    with torch.inference_mode():
        wanted = head.answers(plain, batch)
        began = time.perf_counter()
        found = head.answers(model, batch)
    seconds = time.perf_counter() - began
    after, later = compared.found, _cycles(compared.backend)
    return SentenceRun(
        tokens=encoder.length(item), products=after.products - before.products,
        integers=after.integers - before.integers,
        mismatches=after.mismatches - before.mismatches,
        equal=torch.equal(found.view(torch.int32), wanted.view(torch.int32)),
        cycles=None if cycles is None or later is None else later - cycles,
        seconds=round(seconds, 3)), found.numel()


def _cycles(backend: Backend) -> int | None:
    return sum(backend.cycles.values()) if isinstance(backend, RtlBackend) else None
