"""Defaults, then a file, then flags; and what is no setting is said to be none."""
import pytest

from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.errors import InputError
from sparseloom.model.settings import merged, parse_set, parse_strengths, read_settings


@pytest.fixture
def written(tmp_path):
    """A file with this text, read."""
    def read(text):
        path = tmp_path / "run.yaml"
        path.write_text(text, encoding="utf-8")
        return read_settings(path)
    return read


def test_no_file_says_nothing():
    file = read_settings(None)
    assert merged(PruneConfig, "prune", file, {}) == PruneConfig()
    assert merged(TrainConfig, "train", file, {"distil": None}) == TrainConfig()
    assert merged(QuantizeConfig, "quantize", file, {}) == QuantizeConfig()


def test_flags_override_the_file_and_it_the_defaults(written):
    file = written("prune: {p: 12, q: 8}\ntrain: {distil: 0}\nlearning_rate: 1.0e-3\n")
    assert file.arguments == {"learning_rate": 1e-3}
    assert merged(PruneConfig, "prune", file, {"q": 4, "p": None}) == PruneConfig(p=12, q=4)
    assert merged(TrainConfig, "train", file, {}).distil == 0
    assert merged(QuantizeConfig, "quantize", file, {}) == QuantizeConfig()
    # A flag that is false or 0 was given all the same.
    assert merged(PruneConfig, "prune", file, {"reconstruct": False}).reconstruct is False
    assert merged(TrainConfig, "train", file, {"distil_hidden": 0.0}).distil_hidden == 0


@pytest.mark.parametrize(("text", "milestones"), [
    ("[0, 0.5, 1ep]", ("0", "0.5", "1ep")), ("0.25", ("0.25",)), ("['0']", ("0",))])
def test_milestones_as_yaml_has_them(written, text, milestones):
    file = written(f"prune: {{milestones: {text}}}")
    assert merged(PruneConfig, "prune", file, {}).milestones == milestones


def test_strengths_of_layers(written):
    file = written("prune: {layer_strengths: {'*.key': 0.5, '*': 0.25}}")
    config = merged(PruneConfig, "prune", file, {})
    assert config.layer_strengths == (("*.key", 0.5), ("*", 0.25))
    assert (config.strength_of("a.key"), config.strength_of("a.query")) == (0.5, 0.25)


@pytest.mark.parametrize(("kind", "section", "text", "message"), [
    (PruneConfig, "prune", "prune: {blocks: 3}",
     r"run.yaml, prune: expected one of .*compression.*, found 'blocks'$"),
    (TrainConfig, "train", "train: {arguments: {}}",
     r"run.yaml, train: expected one of .*, found 'arguments'$"),
    (TrainConfig, "train", "train: {1: 2}", r"run.yaml, train: expected one of .*, found 1$"),
    (QuantizeConfig, "quantize", "quantize: {calibration: best}",
     "^calibration: expected one of minmax, percentile, mse, found 'best'$"),
    (PruneConfig, "prune", "prune: {layer_strengths: 3}",
     r"run.yaml, layer_strengths: expected patterns with numbers, found 3$"),
    (PruneConfig, "prune", "prune: {layer_strengths: {a: b}}",
     "^strength of a: expected a number of at least 0, found 'b'$"),
    (PruneConfig, "prune", "prune: {milestones: [2]}", "^milestones: expected shares of"),
    (PruneConfig, "prune", "prune: {milestones: []}", "^milestones: expected at least one"),
])
def test_what_is_no_setting(written, kind, section, text, message):
    file = written(text)
    with pytest.raises(InputError, match=message) as problem:
        merged(kind, section, file, {})
    assert "\n" not in str(problem.value)


def test_set():
    assert parse_set(["a=1", "b=1.0e-3", "c=true", "d=x=y", "e=", "f=[1, 2]", "a=2"]) == {
        "a": 2, "b": 1e-3, "c": True, "d": "x=y", "e": None, "f": [1, 2]}
    assert parse_set([]) == {}
    # YAML alone takes this for text.
    assert float(parse_set(["learning_rate=1e-3"])["learning_rate"]) == 1e-3


@pytest.mark.parametrize(("pair", "message"), [
    ("a", "^set: expected name=value, found 'a'$"), ("=1", "^set: expected name=value"),
    ("", "^set: expected name=value"), ("a=[1", r"^set a: expected a YAML value, found '\[1'$")])
def test_set_refuses(pair, message):
    with pytest.raises(InputError, match=message):
        parse_set([pair])


def test_strengths():
    assert parse_strengths([]) is None
    assert parse_strengths(["*.key=0.5", "a=b=0"]) == (("*.key", 0.5), ("a=b", 0.0))
    for pair in ("*.key", "=1", "a=b", ""):
        with pytest.raises(InputError, match=r"^lambda-of: expected pattern=number, found "):
            parse_strengths([pair])
