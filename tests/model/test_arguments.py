"""TrainingArguments: our defaults, the library's own, and refusals."""
import pytest

from sparseloom.model.arguments import check_names, read_config, training_arguments
from sparseloom.model.config import DEFAULT_ARGUMENTS
from sparseloom.model.errors import InputError


def test_our_defaults(tmp_path):
    made = training_arguments(tmp_path / "out", {}, bfloat16=False)
    assert made.output_dir == str(tmp_path / "out") and not (tmp_path / "out").exists()
    assert {name: getattr(made, name) for name in DEFAULT_ARGUMENTS} == DEFAULT_ARGUMENTS
    assert not made.remove_unused_columns and made.report_to == []
    assert made.train_sampling_strategy == "group_by_length" and made.save_total_limit == 2
    assert not made.bf16 and not made.fp16


def test_what_is_asked_for_counts(tmp_path):
    made = training_arguments(tmp_path, {"learning_rate": 1e-2, "save_total_limit": None,
                                         "output_dir": "/elsewhere", "do_predict": True},
                              bfloat16=True)
    assert made.learning_rate == 1e-2 and made.save_total_limit is None and made.bf16
    assert made.output_dir == str(tmp_path) and not made.do_predict
    assert not training_arguments(tmp_path, {"bf16": False}, bfloat16=True).bf16


def test_numbers_as_text(tmp_path):
    """YAML takes 1e-3, without a point, for text."""
    made = training_arguments(tmp_path, {"learning_rate": "1e-3", "max_steps": "1e2"},
                              bfloat16=False)
    assert made.learning_rate == 1e-3
    assert made.max_steps == 100 and isinstance(made.max_steps, int)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"learning_rat": 1}, "^training arguments: expected fields of TrainingArguments or one of "
                          "prune, train, quantize, found 'learning_rat'$"),
    ({"lr_scheduler_type": "nosuch"}, "^training arguments: expected values that transformers "),
    ({"learning_rate": "fast"}, "^training arguments, learning_rate: expected a number, found "),
    ({"max_steps": [3]}, "^training arguments, max_steps: expected a number, found "),
    ({"learning_rate": True}, "^training arguments, learning_rate: expected a number, found "),
    ({"load_best_model_at_end": True}, "^training arguments: expected values that transformers"),
], ids=["name", "schedule", "text", "list", "truth", "pair"])
def test_refusals(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message) as problem:
        training_arguments(tmp_path, arguments, bfloat16=False)
    assert "\n" not in str(problem.value)


def test_a_file(tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("max_steps: 3\nseed: 2\nprune: {p: 12}\nquantize: {}\n")
    assert read_config(path) == ({"max_steps": 3, "seed": 2}, {"prune": {"p": 12}, "quantize": {}})
    path.write_text("# nothing\n")
    assert read_config(path) == ({}, {})


@pytest.mark.parametrize(("data", "message"), [
    (b"a: [1", "expected YAML, found: "), (b"\xff\xfe\xff", "expected YAML, found: "),
    (b"a: b: c", "expected YAML, found: "), (b"\x00", "expected YAML, found: "),
    (b"!!python/object/apply:os.getcwd []", "expected YAML, found: "),
    (b"- 1", r"expected names with values, found \[1\]"), (b"text", "expected names with values"),
    (b"prune: 3", ", prune: expected names with values, found 3"),
    (b"train:", ", train: expected names with values, found None"),
    (b"nosuch: 3", "expected fields of TrainingArguments or one of prune, train, quantize, found "
                   "'nosuch'"), (b"1: 3", "found 1"),
])
def test_files_that_are_refused(tmp_path, data, message):
    path = tmp_path / "run.yaml"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as problem:
        read_config(path)
    assert str(problem.value).startswith(f"config {path}") and "\n" not in str(problem.value)


def test_no_file(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match=r"^config .*: expected YAML, found: "):
            read_config(path)


def test_known_names():
    check_names({"learning_rate": 1, "fsdp": "full_shard", "push_to_hub": True}, "here")
    with pytest.raises(InputError, match=r"^here: expected fields of TrainingArguments"):
        check_names({"learning_rate": 1, "lr": 1}, "here")
