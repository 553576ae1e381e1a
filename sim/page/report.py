"""From the files of a run to the sections of the page."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import Progress

from sparseloom.model.errors import InputError, cut
from sparseloom.model.packed.artefact import artefact_path, read_artefact
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import read_attention
from sparseloom.model.write import room_to_write, write_whole
from sparseloom.sim.page import fits, front, masks, purchase, scores, timeline
from sparseloom.sim.page.page import Tile, make_page
from sparseloom.sim.page.parts import Section, missing
from sparseloom.sim.receipt.cli import FITS, receipt_of
from sparseloom.sim.receipt.clock import read_fits, read_json
from sparseloom.sim.receipt.measured import read_measured
from sparseloom.sim.receipt.receipt import Receipt
from sparseloom.sim.receipt.work import dense_layer

ARTEFACT = Path("build/demo/pruned")
SCORES = Path("bench/results/glue.json")
EXPLORE = Path("build/explore.json")
WHOLE = {"pruned": "model.json", "dense": "model-dense.json"}
"""What the demo measured of the whole encoder, beside its ``report.json``."""


@dataclass(frozen=True, kw_only=True)
class Sources:
    """Files that a report is made of. None, or a default that is not there, leaves a note.

    Parameters
    ----------
    artefact : Path, optional
        Folder or file.
    demo : Path, optional
        The demo's ``report.json``, for the scores of the model.
    measured : sequence of Path
        Reports of simulations, the demo's among them where its cycles count.
    scores, fits, explore : Path, optional
        Tables of scores and fits; an exploration.
    """

    artefact: Path | None = None
    demo: Path | None = None
    measured: Sequence[Path] = ()
    scores: Path | None = None
    fits: Path | None = None
    explore: Path | None = None


def default_sources(artefact: Path | None = None) -> Sources:
    """Those files that are there in their usual places."""
    def there(path: Path) -> Path | None:
        return path if path.is_file() else None

    if artefact is None and artefact_path(ARTEFACT).is_file():
        artefact = ARTEFACT
    demo, explore = None, None
    measured: Sequence[Path] = ()
    if artefact is not None:
        folder = (artefact if artefact.is_dir() else artefact.parent).resolve().parent
        demo = there(folder / "report.json")
        explore = there(folder / EXPLORE.name)
        if demo:
            measured = [demo, *filter(None, (there(folder / name) for name in WHOLE.values()))]
    return Sources(artefact=artefact, demo=demo, measured=measured, scores=there(SCORES),
                   fits=there(FITS), explore=explore or there(EXPLORE))


def fitting(measured: Sequence[Path], artefact: Path, tokens: int | None,
            ) -> tuple[list[Path], list[str]]:
    """Those files that were measured of an artefact, at a length; and why the others were not.

    For files that nobody named: where an artefact lies says little about what lies beside it.
    """
    found = read_artefact(artefact)
    attention = read_attention(found.metadata, found.layers)
    kept: list[Path] = []
    left_out = []
    for path in measured:
        try:
            seen = read_measured([*kept, path], found.layers, attention)
        except InputError as error:
            left_out.append(str(error))
            continue
        if seen is not None and tokens not in (None, seen.tokens):
            left_out.append(f"measured {path}: expected {tokens} tokens, found {seen.tokens}")
        else:
            kept.append(path)
    return kept, left_out


def write_report(path: Path, sources: Sources, *, cpu: bool = False, threads: int | None = None,
                 tokens: int | None = None, clock_mhz: float | None = None,
                 progress: Progress | None = None) -> list[str]:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path : Path
        The HTML file; its folder is made.
    sources : Sources
    cpu, threads, tokens, clock_mhz
        Of the receipt.
    progress : Progress, optional

    Returns
    -------
    list of str
        Titles of sections whose input is missing.

    Raises
    ------
    InputError
        If a file is not what it should be, or the page cannot be written.
    """
    layers: dict[str, PackedLayer] = {}
    receipt, demo = None, None
    if sources.artefact is not None:
        layers = read_artefact(sources.artefact).layers
        demo = None if sources.demo is None else _read_demo(sources.demo)
        receipt = receipt_of(sources.artefact, measured=sources.measured, fits=sources.fits,
                             cpu=cpu, threads=threads, tokens=tokens, clock_mhz=clock_mhz,
                             progress=progress)
    sections = [
        *_model_sections(layers, receipt), _scores(sources.scores), _fits(sources.fits),
        _front(sources.explore, receipt)]
    name = "Sparseloom" if receipt is None else f"{receipt.model} on Sparseloom"
    page = make_page(name, _subtitle(demo, receipt), _tiles(demo, receipt), _warnings(receipt),
                     sections)
    with room_to_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, page.encode())
    return [section.title for section in sections if not section.there]


def _read_demo(path: Path) -> dict[str, Any]:
    found = read_json(path)
    try:
        _ = found["task"], found["metric"], {name: float(value)
                                             for name, value in found["score"].items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"demo {path}: expected the demo's report.json, found none: "
                         f"{cut(repr(error))}") from None
    return found


def _model_sections(layers: dict[str, PackedLayer], receipt: Receipt | None) -> list[Section]:
    if receipt is None or not layers:
        command = "make demo\nsparseloom report ARTEFACT"
        return [missing(name, title, "no artefact was given", command) for name, title in (
            ("receipt", purchase.TITLE), ("masks", masks.TITLE), ("timeline", timeline.TITLE))]
    return [
        purchase.receipt_section(receipt), masks.mask_section(layers),
        timeline.timeline_section(
            layers, {name: dense_layer(layer) for name, layer in layers.items()},
            tokens=receipt.tokens, config=receipt.config)]


def _scores(path: Path | None) -> Section:
    if path is None:
        return missing("scores", scores.TITLE, "no table of scores (--scores)", scores.MAKE)
    found = read_json(path)
    try:
        return scores.score_section(found["rows"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"scores {path}: expected the table of 'make bench-glue', found none: "
                         f"{cut(repr(error))}") from None


def _fits(path: Path | None) -> Section:
    if path is None:
        return missing("fit", fits.TITLE, "no table of fits (--fit)", fits.MAKE)
    rows = read_fits(path)
    try:
        return fits.fit_section(rows)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"fits {path}: expected rows as 'sparseloom hw fit --json' writes them, "
                         f"found none: {cut(repr(error))}") from None


def _front(path: Path | None, receipt: Receipt | None) -> Section:
    if path is None:
        return missing("front", front.TITLE, "no exploration (--explore)", front.MAKE)
    ran = None if receipt is None else front.Ran(
        rows=receipt.config.rows, cols=receipt.config.cols, bus_bits=receipt.config.bus_bits,
        compression=1 / receipt.total()["density"])
    return front.front_section(front.check_front(read_json(path), path), ran)


def _subtitle(demo: dict[str, Any] | None, receipt: Receipt | None) -> str:
    if receipt is None:
        return "what was measured so far"
    config = receipt.config
    unit = (f"{config.rows} × {config.cols} array, {config.bus_bits}-bit streams, "
            f"{receipt.tokens} tokens")
    return f"{demo['task']}, {unit}" if demo else unit


def _tiles(demo: dict[str, Any] | None, receipt: Receipt | None) -> list[Tile]:
    if receipt is None:
        return []
    total, times, clock = receipt.total(), receipt.times(), receipt.clock
    tiles = [(f"{1 / total['density']:.2f}×", "fewer weights in the encoder"),
             (f"{total['speedup']:.2f}×", "fewer cycles"),
             (f"{100 * total['share_of_ideal']:.1f} %", "of the ideal speed-up")]
    if demo:
        tiles += [(f"{100 * value:.1f}", f"{demo['metric']} × 100, {name}")
                  for name, value in demo["score"].items()]
    if times is not None and clock is not None:
        tiles.append((f"{times['pruned']['latency_ms']:.2f} ms",
                      f"a sentence at {clock.mhz:.0f} MHz; dense "
                      f"{times['dense']['latency_ms']:.2f} ms"))
    if receipt.outputs:
        tiles.append((f"{receipt.mismatches:,} of {receipt.outputs:,}",
                      "RTL outputs differ from the integer oracle"))
    return tiles


def _warnings(receipt: Receipt | None) -> list[str]:
    if receipt is None:
        return []
    found = []
    if receipt.mismatches:
        found.append(f"{receipt.mismatches:,} outputs of the RTL differ from the integer oracle.")
    if wrong := receipt.model_differs():
        found.append(f"The cycle model and the RTL differ in {len(wrong)} layers: "
                     f"{', '.join(wrong)}.")
    return found
