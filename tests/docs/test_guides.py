"""Runs the guides: `sh` blocks of a page in one folder, on tiny models; the driver's sketch."""
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import unpack_fields
from sparseloom.hw.registers import REGISTERS, TABLE
from sparseloom.model.packed.decode import decode_weights
from sparseloom.model.packed.stream import decode_results, encode_results
from sparseloom.model.reference import accumulate, apply_lut, linear, requantise
from sparseloom.sim.build import CACHE_VARIABLE, cache_folder
from tests.layers import random_layer
from tests.model.tiny import class_task, tiny_checkpoint, write_jsonl, write_sts

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```(sh|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SMALL = {"TRAIN": "--max-steps 16 --batch 8", "BOARD": "--device 25k",
         "UNIT": "--rows 1 --cols 2 --max-k 96 --act-words 96 --bus-bits 32"}


def blocks(page: str, language: str) -> list[str]:
    return [code for kind, code in BLOCK.findall((DOCS / page).read_text()) if kind == language]


def run_page(page: str, folder: Path) -> str:
    """All of a page's commands in one shell, as a reader types them."""
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, module in (("sparseloom", "-m sparseloom.sim.console"), ("python", "")):
        script = bin_folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} {module} "$@"\n')
        script.chmod(0o755)
    done = subprocess.run(
        ["bash", "-eux"], input="\n".join(blocks(page, "sh")), cwd=folder, text=True, check=False,
        capture_output=True, timeout=900, env={
            **os.environ, **SMALL, "OMP_NUM_THREADS": "1", CACHE_VARIABLE: str(cache_folder()),
            "PATH": os.pathsep.join([str(bin_folder), os.environ["PATH"]])})
    assert done.returncode == 0, f"{page}:\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.mark.timeout(900)
def test_tutorial(tmp_path):
    tiny_checkpoint(tmp_path / "MiniLM")
    write_sts(tmp_path / "stsb")
    said = run_page("tutorial.md", tmp_path)
    assert "array active in" in said
    assert (tmp_path / "board.bit").stat().st_size > 100_000
    assert {path.name for path in tmp_path.iterdir()} >= {
        "dense", "pruned", "masks.png", "artefact", "float.json", "integer.json", "rtl", "rtl.json",
        "report.html"}


@pytest.mark.timeout(600)
def test_own_model(tmp_path):
    tiny_checkpoint(tmp_path / "encoder", "distilbert")
    write_jsonl(tmp_path / "mine", class_task())
    run_page("own-model.md", tmp_path)


def test_own_board(tmp_path):
    assert "rtl/sparseloom_regs.h" in run_page("own-board.md", tmp_path)


class Board:
    """Registers and DMAs as PYNQ gives them; behind them jobs are decoded and answered.

    What it computes comes of the bytes and registers alone: it never sees the layer.
    """

    def __init__(self, config: ArrayConfig):
        self.config, self.words = config, {}
        self.jobs: list[dict[str, int]] = []
        self.sent: dict[str, bytes] = {}
        self.answer: np.ndarray | None = None

    # pynq's names

    def MMIO(self, address: int, length: int):
        assert length > max(register.offset for register in REGISTERS)
        return self

    def allocate(self, *, shape, dtype):
        return np.zeros(shape, dtype)

    def read(self, offset: int) -> int:
        return self.words.get(offset, 0)

    def write(self, offset: int, word: int) -> None:
        self.words[offset] = word
        if offset == TABLE["JOB_PUSH"].offset:
            self.jobs.append({name: value for register in ("JOB_SHAPE", "JOB_TOKENS", "JOB_CONFIG")
                              for name, value in unpack_fields(
                                  TABLE[register], self.words[TABLE[register].offset]).items()})

    def dma(self, name: str):
        def send(buffer):
            self.sent[name] = bytes(buffer)

        def receive(buffer):
            self.answer = buffer
        return types.SimpleNamespace(
            sendchannel=types.SimpleNamespace(transfer=send),
            recvchannel=types.SimpleNamespace(transfer=receive, wait=self.finish))

    # The unit

    def finish(self) -> None:
        config, job = self.config, self.jobs.pop(0)
        assert self.answer is not None
        assert not self.jobs
        table, strips = decode_weights(
            self.sent["weights"], inputs=job["inputs"], outputs=job["outputs"], cols=config.cols,
            block_inputs=config.block_inputs, tag=job["tag"], lut=bool(job["lut"]))
        x = decode_results(self.sent["acts"], tokens=job["tokens"], outputs=job["inputs"],
                           rows=config.rows, cols=config.cols, raw=False)
        weight = np.zeros((config.cols * len(strips), job["inputs"]), np.int8)
        for index, strip in enumerate(strips):
            weight[config.cols * index:config.cols * (index + 1), strip.columns] = strip.weights.T
        bias, mult, shift = (np.concatenate([getattr(strip, name) for strip in strips])
                             for name in ("bias", "mult", "shift"))
        n = job["outputs"]
        y = accumulate(x, weight[:n], bias[:n])
        if not job["raw"]:
            y = requantise(y, mult[:n], shift[:n], job["zero_point"])
        if table is not None:
            y = apply_lut(y, table)
        data = encode_results(y, rows=config.rows, cols=config.cols, raw=bool(job["raw"]))
        assert len(data) == len(self.answer)
        self.answer[:] = np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("kind", [{}, {"raw": True}, {"lut": True}], ids=str)
def test_the_driver_of_a_board(monkeypatch, kind):
    config = ArrayConfig(rows=4, cols=3, max_k=24, act_words=48)
    board, names = Board(config), {}
    fake = types.ModuleType("pynq")
    vars(fake).update(MMIO=board.MMIO, allocate=board.allocate)
    monkeypatch.setitem(sys.modules, "pynq", fake)
    [code] = blocks("own-board.md", "python")
    exec(compile(code, "own-board.md", "exec"), names)
    unit = names["ZynqUnit"](0x4000_0000, board.dma("weights"), board.dma("acts"),
                             board.dma("results"), config)
    rng = np.random.default_rng(5)
    layer = random_layer(rng, inputs=24, outputs=10, p=2, q=8, **kind)
    x = rng.integers(-128, 128, (19, 24)).astype(np.int8)     # two groups a job: three jobs
    found = unit.run_layer(layer, x)
    assert np.array_equal(found, linear(layer, x))
    assert found.dtype == linear(layer, x).dtype
    assert unit.tag == 3
    board.words[TABLE["STATUS"].offset] = 0b10
    with pytest.raises(RuntimeError, match="unit: "):
        unit.run_layer(layer, x[:1])
