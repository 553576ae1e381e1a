"""Times on this machine: taken of the right work."""
import time

import torch

from sparseloom.model import integer_matmul
from sparseloom.sim.receipt.cpu import processor_name, time_layers
from tests.sim.receipts import ATTENTION, TOKENS, small_layers


def test_each_layer_is_run_both_ways(monkeypatch):
    seen: dict[str, list] = {"float": [], "int8": []}
    linear, product = torch.nn.functional.linear, integer_matmul.matmul_bytes

    def slow_linear(x, weight, bias):
        seen["float"].append((x.dtype, tuple(x.shape), tuple(weight.shape)))
        time.sleep(0.02)
        return linear(x, weight, bias)

    def slow_product(x, weight):
        seen["int8"].append((x.dtype, tuple(x.shape), tuple(weight.shape)))
        return product(x, weight)

    monkeypatch.setattr(torch.nn.functional, "linear", slow_linear)
    monkeypatch.setattr(integer_matmul, "matmul_bytes", slow_product)
    threads = torch.get_num_threads()
    layers = small_layers()
    found = time_layers(layers.values(), TOKENS, threads=1, repeats=3)
    assert torch.get_num_threads() == threads and found.threads == 1
    assert list(found.float32) == list(found.int8) == list(layers)
    for name, kind, times in (("float", torch.float32, found.float32),
                              ("int8", torch.int8, found.int8)):
        assert seen[name] == [(kind, (TOKENS, layer.in_features),
                               (layer.out_features, layer.in_features))
                              for layer in layers.values() for _ in range(4)]
        assert all(value > 0 for value in times.values())
    assert min(found.float32.values()) >= 20 > max(found.int8.values())
    assert found.as_dict()["float32_ms"] == sum(found.float32.values())
    assert found.processor == processor_name() != ""


def test_heads_are_run_at_once(monkeypatch):
    seen = []
    for kind, name in ((torch, "bmm"), (integer_matmul, "integer_bmm")):
        right = getattr(kind, name)

        def product(a, b, right=right):
            seen.append((a.dtype, tuple(a.shape), tuple(b.shape)))
            return right(a, b)

        monkeypatch.setattr(kind, name, product)
    scores, context = ATTENTION.products(TOKENS)
    found = time_layers([scores, context], TOKENS, threads=1, repeats=1)
    assert list(found.float32) == list(found.int8) == [scores.name, context.name]
    floats = [one for one in seen if one[0] == torch.float32]
    assert floats[::2][0][1:] == ((3, TOKENS, 5), (3, 5, TOKENS)), floats
    assert {one[1:] for one in seen if one[0] == torch.int8} == {
        ((3, TOKENS, 5), (3, TOKENS, 5)), ((3, TOKENS, TOKENS), (3, 5, TOKENS))}
