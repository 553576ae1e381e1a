"""The receipt as a whole: its sums, times and notes, and the command."""
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from sparseloom.model.flow import quantize_checkpoint
from sparseloom.model.packed.artefact import write_artefact
from sparseloom.model.products import with_products
from sparseloom.sim import build
from sparseloom.sim.receipt.clock import Clock
from sparseloom.sim.receipt.cpu import CpuTimes
from sparseloom.sim.receipt.measured import Measured
from sparseloom.sim.receipt.receipt import make_receipt
from sparseloom.sim.receipt.table import model_rows, show
from tests.layers import random_layer
from tests.model.tiny import similarity_task, tiny_checkpoint
from tests.sim.receipts import (
    ATTENTION,
    CONFIG,
    TOKENS,
    cycles_of,
    dense_of,
    fit_row,
    model_report,
    small_layers,
    write,
)
from tests.sim.test_cli import BUILD, call

LAYERS = small_layers()
ROWS = with_products(LAYERS, [ATTENTION], TOKENS)
CLOCK = Clock(mhz=100.0, part="LFE5U-85F", seeds={"1": 100.0}, row="3x5", target="ecp5")
TIMES = CpuTimes(float32={"a": 1.5, "b": 2.0}, int8={"a": 0.5, "b": 0.25}, threads=1, load=0.5,
                 cores=2, processor="a processor", torch="9.9")


def measured(shift=0):
    return Measured(tokens=TOKENS, config=CONFIG, outputs=840,
                    cycles={name: cycles_of(layer) + shift for name, layer in LAYERS.items()},
                    dense_cycles={name: cycles_of(layer)
                                  for name, layer in dense_of(LAYERS).items()})


def receipt(**settings):
    return make_receipt("tiny", LAYERS, tokens=TOKENS, config=CONFIG, **settings)


def test_sums_and_speed_up():
    found = receipt(measured=measured())
    total, layers = found.total(), found.as_dict()["layers"]
    for kind in ("pruned", "dense"):
        for name in ("cycles", "weight_bytes", "act_bytes", "result_bytes", "macs", "line_bytes",
                     "memory_words", "measured_cycles", "ideal_cycles"):
            assert total[kind][name] == sum(layer[kind][name] for layer in layers)
        assert sum(total[kind]["counters"].values()) >= total[kind]["cycles"]
    alive = sum(layer.surviving_weights for layer in LAYERS.values())
    assert total["weights"] == 2 * 40 * 16 + 160 and total["weights"] == 1440
    assert total["density"] == pytest.approx(alive / 1440)
    assert total["speedup"] == total["dense"]["cycles"] / total["pruned"]["cycles"]
    assert 0.3 < total["share_of_ideal"] <= 1
    for layer, row in zip(found.layers, layers, strict=True):
        assert row["speedup"] == layer.dense.cycles / layer.pruned.cycles > 1
        assert row["share_of_ideal"] == pytest.approx(row["speedup"] * row["density"])
    assert not found.model_differs()


def test_times_by_hand():
    found = receipt(clock=CLOCK, baud=1_000_000)
    times, total = found.times(), found.total()
    assert times is not None
    for kind in ("pruned", "dense"):
        cycles, one = total[kind]["cycles"], times[kind]
        assert one["latency_ms"] == pytest.approx(cycles / 100e6 * 1e3)
        assert one["sentences_per_second"] == pytest.approx(100e6 / cycles)
        assert one["queue_sentences_per_second"] == pytest.approx(
            100e6 / total[kind]["queue_cycles"])
        assert one["port_megabytes_per_second"] == pytest.approx(400)       # 4 bytes
        assert one["line_seconds"] == pytest.approx(
            total[kind]["line_bytes"] * 10 / 1e6 + cycles / 100e6)
        moved = sum(total[kind][f"{name}_bytes"] for name in ("weight", "act", "result"))
        assert one["stream_megabytes_per_second"] == pytest.approx(moved / cycles * 100)
    assert receipt().times() is None


def test_attention_is_dense_and_counts():
    """Rows of density 1 behind the layers; sums of each part and of all."""
    found = make_receipt("tiny", ROWS, tokens=TOKENS, config=CONFIG, clock=CLOCK,
                         measured=measured())
    linears, products = found.rows("linear"), found.rows("attention")
    assert [layer.name for layer in found.layers] == [
        *LAYERS, "encoder.0.scores", "encoder.0.context"]
    assert [(layer.heads, layer.density, layer.speedup, layer.share_of_ideal)
            for layer in products] == [(3, 1, 1, 1)] * 2
    parts, total = found.as_dict()["parts"], found.total()
    assert parts["linear"]["pruned"]["cycles"] == receipt(measured=measured()).total()[
        "pruned"]["cycles"]
    for kind in ("pruned", "dense"):
        for name in ("cycles", "macs", "weight_bytes", "line_bytes", "memory_words"):
            assert total[kind][name] == sum(part[kind][name] for part in parts.values())
        assert parts["attention"][kind]["macs"] == 2 * 3 * 5 * TOKENS * TOKENS
        assert total[kind]["queue_cycles"] > receipt().total()[kind]["queue_cycles"]
    assert total["density"] == parts["linear"]["density"] == parts["linear"]["mac_density"]
    assert total["density"] < total["mac_density"] < 1 == parts["attention"]["mac_density"]
    assert 1 < total["speedup"] < parts["linear"]["speedup"]
    assert total["share_of_ideal"] == pytest.approx(total["speedup"] * total["mac_density"])
    times = found.times()
    assert times is not None
    assert times["pruned"]["latency_ms"] == pytest.approx(total["pruned"]["cycles"] / 100e6 * 1e3)
    assert total["pruned"]["measured_layers"] == 2 and total["pruned"]["measured_cycles"] is None
    text = shown(found)
    assert f"{total['mac_density']:.3f}; of the weights {total['density']:.3f}" in text
    assert "every matrix product of its encoder" in text and "the head run on the host" in text
    what = {row[0]: row[1:3] for row in model_rows(found)}
    assert what["cycles, attention's products alone"] == (
        parts["attention"]["pruned"]["cycles"],) * 2
    assert linears and "quantise the checkpoint again" in shown(receipt())


def test_attention_alone():
    found = make_receipt("tiny", {name: row for name, row in ROWS.items() if name not in LAYERS},
                         tokens=TOKENS, config=CONFIG)
    total = found.total()
    assert (total["weights"], total["density"], total["speedup"]) == (0, 1, 1)
    assert list(found.as_dict()["parts"]) == ["attention"] and "all 1.000" in shown(found)


def test_a_cycle_that_the_model_does_not_know():
    found = receipt(measured=measured(shift=1))
    assert found.model_differs() == list(LAYERS)
    assert found.layers[0].pruned.cycles == found.layers[0].pruned.model_cycles + 1


def shown(found, width=200):
    out = io.StringIO()
    show(found, Console(file=out, width=width))
    return " ".join(out.getvalue().split())


def test_tables_say_what_is_assumed_and_what_is_missing():
    text = shown(receipt(measured=measured(), clock=CLOCK, cpu=TIMES))
    for part in ("2 layers pruned and 2 dense of 2; 840 outputs compared, 0 differ; the cycle "
                 "model is equal in all", "100.0 MHz on LFE5U-85F (fit 3x5, median of 1 seeds)",
                 "400 MB/s for weights", "1,000,000 baud, 100 kB/s",
                 "a processor, 1 of 2 cores", "float32 3.50 ms, int8 products 0.75 ms",
                 "sentences a second, one at a time", "No joules"):
        assert part in text
    text = shown(receipt())
    for part in ("no RTL cycles were given (--measured)", "sparseloom hw fit --json",
                 "--clock-mhz", "no CPU time was taken (--cpu)"):
        assert part in text
    assert "latency" not in text
    assert len(list(model_rows(receipt()))) < len(list(model_rows(receipt(clock=CLOCK))))


@pytest.fixture
def artefact(tmp_path):
    write_artefact(tmp_path, list(LAYERS.values()), {"source": {"model": "tiny"}})
    return tmp_path


def test_the_command(artefact, monkeypatch, capsys):
    pruned = write(artefact / "pruned.json", model_report(LAYERS))
    fits = write(artefact / "fit.json", fit_row())
    code, out, err = call(monkeypatch, capsys, artefact, "-m", pruned, "--fit", fits, "--cpu",
                          "--threads", 1, "--json", command="receipt")
    assert code == 0, err
    found = json.loads(out)
    assert (found["model"], found["tokens"], found["geometry"]) == ("tiny", TOKENS,
                                                                    CONFIG.to_dict())
    assert found["clock"]["row"] == "3x5-85k-ecp5" and found["times"]["pruned"]["latency_ms"] > 0
    assert found["cpu"]["float32_ms"] > 0 and found["cpu"]["threads"] == 1
    assert found["total"]["pruned"]["measured_cycles"] == sum(map(cycles_of, LAYERS.values()))
    assert found["total"]["dense"]["measured_cycles"] is None


def test_the_command_without_a_measurement(artefact, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, artefact, "--rows", 4, "--cols", 5, "--tokens", 9,
                          "--clock-mhz", 80, "-l", "*.up", command="receipt")
    assert code == 0, err
    assert "tiny: a sentence of 9 tokens through the 4 × 5 array" in out
    assert "80.0 MHz (given)" in " ".join(out.split()) and "down" not in out


def test_a_model_of_4_bits_has_a_clock_of_its_own(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(5)
    four, eight = (random_layer(rng, name=name, inputs=16, outputs=10, p=5, q=8, weight_bits=bits)
                   for name, bits in (("encoder.0.a", 4), ("encoder.1.a", 8)))
    write_artefact(tmp_path, [four, eight], {})
    fits = write(tmp_path / "fit.json", {"rows": [
        fit_row(row="eight"), fit_row(row="four", config={**CONFIG.to_dict(), "weight_bits": 4})]})
    report = model_report({layer.name: layer for layer in (four, eight)})
    report["layers"][0]["cycles"] = cycles_of(four, config=replace(CONFIG, weight_bits=4))
    run = write(tmp_path / "run.json", report)
    for words, row in (([], "eight"), (["-l", "*.0.a"], "four")):
        code, out, err = call(monkeypatch, capsys, tmp_path, "-m", run, "--fit", fits, *words,
                              command="receipt")
        assert code == 0, err
        text = " ".join(out.split())
        assert f"(fit {row}," in text and ("two widths" in text) == (not words)


def test_what_was_measured_must_hold(artefact, monkeypatch, capsys):
    report = model_report(LAYERS)
    report["layers"][1]["cycles"] += 1
    code, _, err = call(monkeypatch, capsys, artefact, "-m", write(artefact / "m.json", report),
                        command="receipt")
    assert code == 1 and "layers encoder.0.down: expected the cycle model's cycles" in err
    report["layers"][1]["cycles"] -= 1
    report["layers"][0]["mismatches"] = 3
    code, _, err = call(monkeypatch, capsys, artefact, "-m", write(artefact / "m.json", report),
                        command="receipt")
    assert code == 1 and "found 3 of 420" in " ".join(err.split())


def test_another_unit_than_measured(artefact, monkeypatch, capsys):
    report = write(artefact / "m.json", model_report(LAYERS))
    for words, message in ((["--rows", 4], "rows: expected 3, as was measured, found 4"),
                           (["--tokens", 4], "tokens: expected 7, as was measured, found 4")):
        code, _, err = call(monkeypatch, capsys, artefact, "-m", report, *words, command="receipt")
        assert code == 2 and message in err


def test_measured_in_rtl_with_attention(tmp_path, monkeypatch, capsys):
    """A real encoder: 'sim model' measures its products too, and the receipt has all of it."""
    monkeypatch.setattr(build, "LONG_RUN_FLAGS", build.COMPILER_FLAGS)
    quantize_checkpoint(tiny_checkpoint(tmp_path / "c", hidden=16, ffn=24, depth=1, heads=2),
                        similarity_task(), tmp_path / "a", p=8, q=8, evaluate=False)
    code, out, err = call(monkeypatch, capsys, tmp_path / "a", "--tokens", 7, *BUILD, "--json",
                          command="model")
    assert code == 0, err
    run = json.loads(out)
    name = "encoder.layer.0.attention.self"
    assert [(row["shape"], row["heads"], row["density"]) for row in run["layers"][6:]] == [
        ([7, 8], 2, 1), ([8, 7], 2, 1)]
    assert run["total"]["outputs"] == 7 * (5 * 16 + 24) + 2 * 7 * 7 + 7 * 16
    report = write(tmp_path / "m.json", run)
    code, out, err = call(monkeypatch, capsys, tmp_path / "a", "-m", report, "--json",
                          command="receipt")
    assert code == 0, err
    found = json.loads(out)
    assert [row["name"] for row in found["layers"]][2:6] == [
        f"{name}.value", f"{name}.scores", f"{name}.context",
        "encoder.layer.0.attention.output.dense"]
    for row in found["layers"]:
        assert row["pruned"]["measured_cycles"] == row["pruned"]["model_cycles"] > 0
    assert found["total"]["pruned"]["measured_cycles"] == run["total"]["cycles"]
    assert found["outputs"] == run["total"]["outputs"] and not found["mismatches"]
    run["layers"][6]["shape"] = [6, 8]
    report = write(tmp_path / "m.json", run)
    code, _, err = call(monkeypatch, capsys, tmp_path / "a", "-m", report, command="receipt")
    assert code == 2
    assert f"layer {name}.scores: expected a layer of the artefact, of shape [7, 8]" in err
    code, out, err = call(monkeypatch, capsys, tmp_path / "a", "--tokens", 7, *BUILD, "--json",
                          "-l", "*.context", command="model")
    assert code == 0, err
    assert [row["name"] for row in json.loads(out)["layers"]] == [f"{name}.context"]
