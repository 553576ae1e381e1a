import json

import numpy as np
import pytest

from sparseloom.model.packed.artefact import write_artefact
from sparseloom.sim import build as build_module
from sparseloom.sim import chain as chain_module
from sparseloom.sim import console, layer_queues
from sparseloom.sim import layer as layer_module
from sparseloom.sim.cli import straddle_cost
from tests.layers import random_acts, random_layer
from tests.sim.test_chained import CONFIGS, make_block

BUILD = ["--rows", "3", "--cols", "5", "--max-k", "45", "--act-words", "100", "--bus-bits", "32",
         "--block-inputs", "8", "--queue-depth", "2"]


@pytest.fixture
def artefact(tmp_path, monkeypatch):
    """An artefact whose model gives random activations."""
    rng = np.random.default_rng(3)
    write_artefact(tmp_path, [
        random_layer(rng, name="encoder.0.key", inputs=40, outputs=20, p=5, q=8),
        random_layer(rng, name="encoder.0.value", inputs=40, outputs=24, p=8, q=8),
        random_layer(rng, name="encoder.1.key", inputs=40, outputs=20, p=5, q=8, weight_bits=4)],
        {})
    asked = []

    def capture(folder, name, *, tokens, sentences):
        asked.append((folder, name, tokens, sentences))
        return random_acts(np.random.default_rng(4), tokens, 40)

    monkeypatch.setattr("sparseloom.model.capture.capture_activations", capture)
    return tmp_path, asked


def call(monkeypatch, capsys, *words, command="layer"):
    """Exit code, standard output and errors of the command."""
    monkeypatch.setattr("sys.argv", ["sparseloom", "sim", command, *map(str, words)])
    with pytest.raises(SystemExit) as left:
        console.main()
    shown = capsys.readouterr()
    return left.value.code or 0, shown.out, shown.err


def test_layer_as_json(artefact, monkeypatch, capsys):
    folder, asked = artefact
    code, out, err = call(monkeypatch, capsys, folder, "--layer", "encoder.0.key", "--tokens", 7,
                          *BUILD, "--stall", 0.2, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["name"], found["outputs"], found["mismatches"]) == ("encoder.0.key", 140, 0)
    assert found["shape"] == [20, 40] and found["geometry"]["cols"] == 5
    assert found["cycles"] > found["ideal_cycles"] > 0 and found["predicted_cycles"] is None
    assert asked == [(folder, "encoder.0.key", 7, None)]
    assert "note" not in err


def test_a_layer_of_4_bits_has_a_unit_of_its_own(artefact, monkeypatch, capsys):
    folder, asked = artefact
    code, out, err = call(monkeypatch, capsys, folder, "-l", "encoder.1.key", "--tokens", 7,
                          *BUILD, "--json")
    assert code == 0, err
    found = json.loads(out)
    assert (found["outputs"], found["mismatches"]) == (140, 0)
    assert found["geometry"]["weight_bits"] == 4
    asked.clear()
    for name, given, own in (("encoder.1.key", 8, 4), ("encoder.0.key", 4, 8)):
        code, out, err = call(monkeypatch, capsys, folder, "-l", name, *BUILD,
                              "--weight-bits", given)
        assert code == 2 and not asked
        assert (f"layer {name}, weight_bits: expected {given}, as the unit was built, found {own}"
                in err)


def test_layer_as_a_table_with_sentences(artefact, monkeypatch, capsys, tmp_path):
    folder, asked = artefact
    text = tmp_path / "sentences.txt"
    text.write_text("A cat sat.\n\n  It rained. \n", encoding="utf-8")
    code, out, err = call(monkeypatch, capsys, folder, "-l", "encoder.0.value", "--tokens", 4,
                          *BUILD, "--sentences", text)
    assert code == 0, err
    assert "outputs compared" in out and "96" in out and "utilisation" in out
    assert "by the cycle model" in out
    assert asked[0][3] == ["A cat sat.", "It rained."]
    assert "5 columns do not divide p = 8" in " ".join(err.split())


def test_a_mismatch_is_exit_code_1(artefact, monkeypatch, capsys):
    folder, _ = artefact
    real = layer_module.linear
    monkeypatch.setattr(layer_module, "linear", lambda *a: real(*a) ^ np.int8(1))
    code, out, err = call(monkeypatch, capsys, folder, "-l", "encoder.0.key", "--tokens", 2, *BUILD)
    assert code == 1 and "mismatches" in out
    assert "error: 40 of 40 outputs differ, the first: {'token': 0, 'output': 0" in err


@pytest.mark.parametrize(("words", "message"), [
    (["--layer", "nobody"], "error: layer nobody: not in the artefact, which has encoder.0.key, "),
    (["--layer", "encoder.0.key", "--rows", "99"], "error: rows must be an integer in 1..32"),
    (["--layer", "encoder.0.key", "--bus-bits", "48"], "error: bus_bits must be one of 32, 64"),
    (["--layer", "encoder.0.key", "--max-k", "32"],
     "error: layer encoder.0.key, in_features: expected at most max_k = 32, found 40"),
    (["--layer", "encoder.0.key", "--sentences", "/nowhere"], "expected a text file, one"),
])
def test_wrong_input_is_one_line_and_exit_code_2(artefact, monkeypatch, capsys, words, message):
    code, out, err = call(monkeypatch, capsys, artefact[0], *words)
    assert code == 2 and out == ""
    lines = [line for line in err.splitlines() if not line.startswith("note")]
    assert message in lines[-1] and sum(line.startswith("error") for line in lines) == 1


def test_empty_sentences(artefact, monkeypatch, capsys, tmp_path):
    (tmp_path / "empty.txt").write_text("\n \n")
    code, _, err = call(monkeypatch, capsys, artefact[0], "-l", "encoder.0.key", "--sentences",
                        tmp_path / "empty.txt")
    assert code == 2 and "expected a sentence a line, found none" in err


def test_a_damaged_artefact(artefact, monkeypatch, capsys):
    folder, _ = artefact
    path = folder / "sparseloom.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    code, _, err = call(monkeypatch, capsys, folder, "-l", "encoder.0.key")
    assert code == 2 and err.startswith("error: artefact") and err.count("\n") == 1


@pytest.fixture
def whole(artefact, monkeypatch):
    """Of the same artefact the activations of several layers; the tests' simulators."""
    folder, asked = artefact

    def capture(folder, names, *, tokens, sentences):
        asked.append((names, tokens, sentences))
        rng = np.random.default_rng(4)
        return {name: random_acts(rng, tokens, 40) for name in names}

    monkeypatch.setattr("sparseloom.model.capture.capture_layers", capture)
    monkeypatch.setattr(build_module, "LONG_RUN_FLAGS", build_module.COMPILER_FLAGS)
    return folder, asked


def test_model_as_json(whole, monkeypatch, capsys, tmp_path):
    folder, asked = whole
    code, out, err = call(monkeypatch, capsys, folder, "--layers", "encoder.0.*", "--tokens", 7,
                          *BUILD, "--keep", tmp_path / "kept", "--json", command="model")
    assert code == 0, err
    found = json.loads(out)
    assert [one["name"] for one in found["layers"]] == ["encoder.0.key", "encoder.0.value"]
    assert found["exact"] and found["total"]["outputs"] == 7 * 44 and found["tokens"] == 7
    assert found["geometry"]["cols"] == 5
    assert asked == [(["encoder.0.key", "encoder.0.value"], 7, None)]
    assert (tmp_path / "kept" / "weights-8" / "results1.bin").is_file()
    assert "5 columns do not divide p = 8" in " ".join(err.split())


def test_model_with_a_mismatch(whole, monkeypatch, capsys):
    folder, _ = whole
    real = layer_queues.linear

    def bent(layer, x):
        values = real(layer, x)
        values[1, 2] += layer.name == "encoder.0.value"
        return values

    monkeypatch.setattr(layer_queues, "linear", bent)
    code, out, err = call(monkeypatch, capsys, folder, "-l", "encoder.0.*", "--tokens", 3, *BUILD,
                          "--stall", 0.2, command="model")
    assert code == 1 and "mismatches" in out and "20×40" in out
    errors = [line for line in err.splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert errors[0].startswith("error: layer encoder.0.value: mismatches: expected 0, found 1; "
                                "the first in layer encoder.0.value, token 1, output 2: expected ")
    assert "; to run it again: (cd " in errors[0]


@pytest.mark.parametrize(("words", "message"), [
    (["--layers", "key"], "error: layers key: expected the pattern of a layer's name, found none "),
    (["--max-k", "32"], "error: layer encoder.0.key, in_features: expected at most max_k = 32, "),
    (["--rows", "0"], "error: rows must be an integer in 1..32"),
])
def test_model_with_wrong_input(whole, monkeypatch, capsys, words, message):
    code, out, err = call(monkeypatch, capsys, whole[0], *words, command="model")
    assert code == 2 and out == ""
    assert message in err and err.count("error") == 1


@pytest.fixture
def block(tmp_path, monkeypatch):
    """An artefact with a small feed-forward block, and a small unit whatever its defaults are."""
    first, second, x = make_block(CONFIGS["3x5"], "ragged")
    write_artefact(tmp_path, [first, second], {})
    monkeypatch.setattr("sparseloom.model.capture.capture_activations",
                        lambda folder, name, *, tokens, sentences: x[:tokens])
    run = chain_module.run_chain
    monkeypatch.setattr(chain_module, "run_chain", lambda first, second, x, config, **settings: run(
        first, second, x, CONFIGS["3x5"], **settings))
    return tmp_path


def test_chain(block, monkeypatch, capsys):
    words = (block, "--layers", "ffn1", "ffn2", "--tokens", 8)
    code, out, err = call(monkeypatch, capsys, *words, command="chain")
    assert code == 0, err
    assert "ffn2 behind ffn1" in out and "bytes on the wires" in out and "423" in out
    code, out, err = call(monkeypatch, capsys, *words, "--stall", 0.3, "--json", command="chain")
    assert code == 0, err
    found = json.loads(out)
    # Three groups of three tokens, one of them of two; 47 hidden channels.
    assert (found["wire_bytes"], found["outputs"], found["exact"]) == (9 * 47, 8 * 23, True)


def test_chain_of_what_does_not_fit(block, monkeypatch, capsys):
    code, _, err = call(monkeypatch, capsys, block, "-l", "ffn2", "ffn1", command="chain")
    assert code == 2
    assert err == ("error: layer ffn2, raw: expected int8 results for the next layer, found int32 "
                   "sums\n")


def test_a_chain_with_a_mismatch_is_exit_code_1(block, monkeypatch, capsys):
    real = chain_module.linear
    monkeypatch.setattr(chain_module, "linear", lambda *a: real(*a) ^ 1)
    code, out, err = call(monkeypatch, capsys, block, "-l", "ffn1", "ffn2", command="chain")
    assert code == 1 and "mismatches" in out
    assert "outputs and 799 of 846 bytes on the wires differ" in err


def test_straddle_cost():
    rng = np.random.default_rng(1)
    layer = random_layer(rng, inputs=64, outputs=48, p=16, q=16, density=0.2)
    assert straddle_cost(layer, 8) == straddle_cost(layer, 16) == 1
    assert 1.3 < straddle_cost(layer, 12) < 1.7
    assert straddle_cost(random_layer(rng, inputs=8, outputs=8, density=0.0), 3) == 1


def test_offload(tmp_path, monkeypatch, capsys):
    """A whole tiny encoder on the oracle: table, JSON, exit codes; what the options must be."""
    from sparseloom.model.flow import quantize_checkpoint
    from sparseloom.sim import backends
    from tests.model.tiny import similarity_task, tiny_checkpoint

    quantize_checkpoint(tiny_checkpoint(tmp_path / "c"), similarity_task(), tmp_path / "a",
                        evaluate=False)
    words = [tmp_path / "a", "--backend", "oracle", "-n", 2]
    code, out, err = call(monkeypatch, capsys, *words, "--json", command="offload")
    assert code == 0, err
    found = json.loads(out)
    assert found["exact"] and found["integers"] > 1000 and len(found["sentences"]) == 2
    assert found["geometry"]["rows"] == 12
    code, out, _ = call(monkeypatch, capsys, *words, command="offload")
    assert code == 0 and f"{found['integers']:,} integers compared, 0 differ" in out

    right = backends.OracleBackend.run

    def bent(self, work):
        answers = right(self, work)
        for (layer, _), values in zip(work, answers, strict=True):
            if layer.name == "encoder.layer.1.attention.self.scores.3":
                values[0, 0] += 1
        return answers

    monkeypatch.setattr(backends.OracleBackend, "run", bent)
    code, _, err = call(monkeypatch, capsys, *words, command="offload")
    assert code == 1
    assert "the first in layer encoder.layer.1.attention.self.scores.3, token 0, output 0" in err
    for more, says in ((["--backend", "gpu"], "backend: expected oracle, rtl or board, found gpu"),
                       (["--backend", "board"], "port: expected one exactly for backend board")):
        code, _, err = call(monkeypatch, capsys, tmp_path / "a", *more, command="offload")
        assert code == 2 and err.startswith(f"error: {says}")
