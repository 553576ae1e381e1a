"""The oracle's sums against judges that we did not write: PyTorch's and ONNX Runtime's."""
import functools

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, checker, helper

from sparseloom.model.integer_matmul import integer_matmul
from sparseloom.model.quantize import quantize_linear
from sparseloom.model.reference import accumulate, linear
from tests.strategies import CASES, layers


@functools.cache
def session() -> onnxruntime.InferenceSession:
    """One node, MatMulInteger: (x - zero of x) · (w - zero of w), int32.

    Unsigned bytes: with signed weights ONNX Runtime's kernels for processors without VNNI
    saturate sums of two products in 16 bits.
    """
    names = ("x", "w", "x_zero", "w_zero")
    shapes = (("M", "K"), ("K", "N"), (), ())
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", names, ["y"])], "sums",
        [helper.make_tensor_value_info(name, TensorProto.UINT8, shape)
         for name, shape in zip(names, shapes, strict=True)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ("M", "N"))])
    # Ten is the first opset that has it; the versions of today write newer files by themselves.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)], ir_version=9)
    checker.check_model(model)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options,
                                        providers=["CPUExecutionProvider"])


def judged(x: np.ndarray, weight: np.ndarray, zero_point: int = 0) -> np.ndarray:
    """Σ (x - zero_point) · w of signed bytes: int32, shape (M, N)."""
    found, = session().run(None, {
        "x": (x.astype(np.int16) + 128).astype(np.uint8),
        "w": (weight.astype(np.int16) + 128).astype(np.uint8).T.copy(),
        "x_zero": np.array(zero_point + 128, np.uint8), "w_zero": np.array(128, np.uint8)})
    assert isinstance(found, np.ndarray) and found.dtype == np.int32
    return found


@st.composite
def products(draw) -> tuple[np.ndarray, np.ndarray]:
    """Activations and weights, sometimes all of them at an end of their range."""
    m, n = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    k = draw(st.one_of(st.integers(1, 70), st.sampled_from((384, 1024, 1025, 3072))))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    x = rng.integers(-128, 128, (m, k)).astype(np.int8)
    weight = rng.integers(-127, 128, (n, k)).astype(np.int8)
    if draw(st.booleans()):
        x[draw(st.integers(0, m - 1))] = draw(st.sampled_from((-128, 127)))
        weight[draw(st.integers(0, n - 1))] = draw(st.sampled_from((-127, 127)))
    return x, weight


@CASES
@given(products())
def test_sums_are_torch_s_and_onnx_runtime_s(drawn):
    x, weight = drawn
    ours = accumulate(x, weight, np.zeros(len(weight), np.int32))
    one, two = torch.from_numpy(x), torch.from_numpy(weight)
    assert np.array_equal(ours, (one.long() @ two.long().t()).numpy())
    assert np.array_equal(ours, (one.int() @ two.int().t()).numpy())
    assert np.array_equal(ours, integer_matmul(one, two).numpy())
    assert np.array_equal(ours, judged(x, weight))


@CASES
@given(layers(), st.integers(0, 1 << 32))
def test_raw_layers_answer_the_judges_sums_and_their_bias(layer, seed):
    x = np.random.default_rng(seed).integers(-128, 128, (5, layer.in_features)).astype(np.int8)
    raw = linear(layer, x) if layer.raw else accumulate(x, layer.dense_weight(), layer.bias)
    assert np.array_equal(raw, judged(x, layer.dense_weight()) + layer.bias)


@CASES
@given(products(), st.floats(-6, 0), st.floats(0.01, 6), st.sampled_from((8, 4)))
def test_folded_zero_points_answer_what_the_judge_subtracts(drawn, low, high, bits):
    """We fold the activations' zero point into the bias; ONNX Runtime subtracts it from each."""
    x, floats = drawn
    layer = quantize_linear(
        name="layer", weight=floats / 100, bias=None, keep=np.ones(floats.shape, bool),
        structure="column", p=1, q=1, input_range=(low, high), output_range=(-1e4, 1e4), raw=True,
        weight_bits=bits)
    assert np.array_equal(linear(layer, x), judged(x, layer.dense_weight(),
                                                   layer.input_zero_point))


@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
def test_the_judge_itself_by_hand(zero_point):
    x, weight = np.array([[3, -128]], np.int8), np.array([[2, -127], [0, 1]], np.int8)
    wanted = [2 * (3 - zero_point) - 127 * (-128 - zero_point), -128 - zero_point]
    assert judged(x, weight, zero_point).tolist() == [wanted]
