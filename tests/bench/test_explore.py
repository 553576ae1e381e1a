"""The bench of the exploration: its shape, not its speed."""
import json

from bench import explore as module
from bench.explore import NormWorkload, holds, judged_by, main
from sparseloom.sim.explore.farm import Serial
from sparseloom.sim.explore.space import Axes
from sparseloom.sim.explore.workload import Pruning


def test_writes_what_it_found_and_tells_a_missed_bar(tmp_path, monkeypatch, capsys):
    from contextlib import nullcontext

    monkeypatch.setattr(module, "MODEL", "bert-tiny")
    monkeypatch.setattr(module, "SWEEP", Axes(arrays=((12, 12), (12, 24)), compressions=(2.0,),
                                              blocks=((24, 16),)))
    monkeypatch.setattr(module, "open_farm", lambda workers: nullcontext(Serial()))
    monkeypatch.setattr(module, "BAR", 1)
    assert main(["--root", str(tmp_path), "--every", "1"]) == 0
    found = json.loads((tmp_path / "bench/results/explore.json").read_text())
    for name in ("balanced", "norms"):
        assert found[name]["holds"] and found[name]["workers"] == 2
        assert found[name]["dask"]["computed"] == found[name]["serial"]["computed"] == 1
        assert found[name]["repeat"]["computed"] == 0
        assert found[name]["same_again"] and found[name]["same_serial"]
    monkeypatch.setattr(module, "BAR", 10**9)
    assert main(["--root", str(tmp_path), "--workload", "balanced"]) == 1
    assert capsys.readouterr().err == "error: balanced: a bar is missed\n"
    found = json.loads((tmp_path / "bench/results/explore.json").read_text())
    assert not found["balanced"]["holds"] and found["norms"]["holds"]


def test_the_clock_counts_on_a_quiet_machine_alone():
    found = {"repeat": {"computed": 0}, "same_again": True, "same_serial": True,
             "dask": {"points_per_minute_by_cpu": module.BAR, "points_per_minute": module.BAR - 1}}
    assert judged_by({**found, "load_before": 1.0}) == ["points_per_minute_by_cpu"]
    assert holds("balanced", {**found, "load_before": 1.0})
    assert not holds("balanced", {**found, "load_before": 0.9})
    assert holds("norms", {**found, "load_before": 0.9}), "without a bar"


def test_layers_by_norms_all_differ():
    masks = NormWorkload("bert-tiny").masks(Pruning(structure="column", p=8, q=16, compression=2))
    assert masks.kind == "norms" and len(masks.layers) == len({
        (layer.outputs, layer.inputs, layer.bits) for layer in masks.layers}) == 12
