"""The trial of a processor's bfloat16, with a clock of our own."""
import pytest
import torch

from sparseloom.model import bfloat16


@pytest.mark.parametrize(("half", "whole", "faster"), [
    (1.0, 2.0, True), (1.7, 2.0, False), (9.0, 2.0, False), (1.5, 2.0, True)])
def test_only_a_clear_gain_counts(monkeypatch, half, whole, faster):
    """A product takes as long as the test says."""
    now = [0.0]

    def linear(x, w):
        now[0] += half if x.dtype == torch.bfloat16 else whole

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bfloat16.nn.functional, "linear", linear)
    monkeypatch.setattr(bfloat16.time, "perf_counter", lambda: now[0])
    assert bfloat16.bfloat16_is_faster() is faster


def test_one_slow_try_does_not_decide(monkeypatch):
    """The best of several tries counts: the first loads the library."""
    now, slow = [0.0], {torch.bfloat16, torch.float32}

    def linear(x, w):
        now[0] += 50.0 if x.dtype in slow else 1.0 if x.dtype == torch.bfloat16 else 2.0
        slow.discard(x.dtype)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(bfloat16.nn.functional, "linear", linear)
    monkeypatch.setattr(bfloat16.time, "perf_counter", lambda: now[0])
    assert bfloat16.bfloat16_is_faster()


@pytest.mark.parametrize("supported", [True, False])
def test_a_gpu_is_asked(monkeypatch, supported):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: supported)
    assert bfloat16.bfloat16_is_faster() is supported


def test_here(monkeypatch):
    """It answers on this machine, and leaves the number of threads as it was."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    threads = torch.get_num_threads()
    assert bfloat16.bfloat16_is_faster(rows=16, width=32) in (True, False)
    assert torch.get_num_threads() == threads
