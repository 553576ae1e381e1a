"""Find an encoder's Linear layers, and what becomes of each one's output, by running the model."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from sparseloom.model.errors import InputError, cut
from sparseloom.model.names import block_index

TRACE_TOKENS = 4
_ADDITIONS = ("add", "add_", "__add__", "__radd__", "__iadd__")
_PASSES = ("dropout", "dropout_", "contiguous")
_PRODUCTS = ("matmul", "bmm", "__matmul__", "scaled_dot_product_attention")


@dataclass(frozen=True, kw_only=True, eq=False)
class EncoderLinear:
    """One Linear layer inside an encoder layer.

    Parameters
    ----------
    name : str
        Dotted module name, relative to the base model: the same with and without a head.
    module : nn.Linear
    block : int
        Which encoder layer, from 0.
    activation : str, optional
        Dotted name of the element-wise module that its output goes into (GELU).
    residual : bool
        Its output is added to the residual stream.
    role : str, optional
        ``query``, ``key`` or ``value``: what its output is in an attention's two products.
    """

    name: str
    module: nn.Linear
    block: int
    activation: str | None
    residual: bool
    role: str | None = None

    @property
    def operand(self) -> bool:
        """Whether its output becomes weights of the unit: keys and values."""
        return self.role in ("key", "value")


def base_model(model: nn.Module) -> nn.Module:
    """The encoder under a task head; the model itself if it has none."""
    return getattr(model, "base_model", model)


def encoder_layers(model: nn.Module) -> list[EncoderLinear]:
    """The Linear layers in the stack of encoder layers, in order of execution.

    The stack is the outermost ``ModuleList`` as long as the configuration's count of layers whose
    members all hold a Linear. A short trace of the model in evaluation mode tells which outputs
    enter an element-wise module, which are added to the residual, and which attention multiplies,
    so no module name is wired in. Layers that the trace does not reach (cross-attention) are left
    out.

    Raises
    ------
    InputError
        If there is no such stack, or no attention in it (a state-space model): the checkpoint is
        not of a transformer encoder.
    """
    base = base_model(model)
    config = getattr(base, "config", None)
    if not getattr(config, "num_attention_heads", None):
        raise InputError(f"checkpoint: expected a transformer encoder, found {type(base).__name__} "
                         "without attention heads")
    count = getattr(config, "num_hidden_layers", None)
    stack = next((name for name, part in base.named_modules()
                  if isinstance(part, nn.ModuleList) and len(part) == count and count
                  and all(_has_linear(block) for block in part)), None)
    trace = None if stack is None else _trace(base, stack)
    if trace is None or not trace.order:
        raise InputError(f"checkpoint: expected an encoder with Linear layers, found none in "
                         f"{type(base).__name__}")
    shared = list(trace.activation.values())
    if len(set(shared)) != len(shared):
        raise InputError(f"checkpoint: expected an activation module for each layer, found a "
                         f"shared one in {type(base).__name__}")
    return [EncoderLinear(name=name, module=trace.linears[name][1],
                          block=int(block_index(name[len(f"{stack}"):] + ".") or 0),
                          activation=trace.activation.get(name), residual=name in trace.residual,
                          role=trace.role.get(name))
            for name in trace.order]


def attention_layers(linears: Sequence[EncoderLinear]) -> dict[int, dict[str, EncoderLinear]]:
    """Of each encoder layer, what attention multiplies: by block, then by role.

    Returns
    -------
    dict
        Empty unless each block has exactly one query, one key and one value: then every product
        of attention is known to be between outputs of Linear layers.
    """
    found: dict[int, dict[str, EncoderLinear]] = {}
    for linear in linears:
        if linear.role is not None and found.setdefault(linear.block, {}).setdefault(
                linear.role, linear) is not linear:
            return {}
    blocks = {linear.block for linear in linears}
    whole = blocks == found.keys() and all(len(parts) == 3 for parts in found.values())
    return found if whole else {}


def _has_linear(module: nn.Module) -> bool:
    return any(isinstance(part, nn.Linear) for part in module.modules())


class _Trace(TorchFunctionMode):
    """Follows each Linear's output to the first thing that uses it."""

    def __init__(self, base: nn.Module, stack: str):
        super().__init__()
        parts = {name: part for name, part in base.named_modules()
                 if name.startswith(f"{stack}.")}
        self.linears = {name: (part.weight, part) for name, part in parts.items()
                        if isinstance(part, nn.Linear)}
        self.by_weight = {id(weight): name for name, (weight, _) in self.linears.items()}
        self.order: list[str] = []
        self.residual: set[str] = set()
        self.activation: dict[str, str] = {}
        self.role: dict[str, str] = {}
        self.memory: dict[int, str] = {}      # address of a Linear's output -> the Linear
        self.source: dict[int, str] = {}      # id of a tensor -> the Linear it came out of
        self.alive: list[torch.Tensor] = []   # keeps ids from being used twice
        self.hooks = [part.register_forward_hook(self._leaf(name))
                      for name, part in parts.items() if _is_element_wise(part)]

    def _mark(self, tensor: torch.Tensor, name: str) -> None:
        self.source[id(tensor)] = name
        self.alive.append(tensor)

    def _leaf(self, name: str):
        def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            linear = self.source.get(id(inputs[0])) if inputs else None
            if (linear is not None and isinstance(output, torch.Tensor)
                    and output is not inputs[0] and output.shape == inputs[0].shape):
                self.activation.setdefault(linear, name)
        return hook

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if func is nn.functional.linear:
            weight = args[1] if len(args) > 1 else (kwargs or {})["weight"]
            name = self.by_weight.get(id(weight))
            if name is not None:
                if name not in self.order:
                    self.order.append(name)
                self._mark(out, name)
                self.memory[_address(out)] = name
            return out
        called = getattr(func, "__name__", "")
        if called in _PRODUCTS:
            self._multiplied([self.memory.get(_address(arg)) for arg in args[:3]
                              if isinstance(arg, torch.Tensor)])
        elif (called == "contiguous" and out is not args[0]
              and (origin := self.memory.get(_address(args[0]))) is not None):
            self.memory[_address(out)] = origin
            self.alive.append(out)
        if called in _ADDITIONS:
            self.residual.update(self.source[id(arg)] for arg in args if id(arg) in self.source)
        elif called in _PASSES and args and id(args[0]) in self.source:
            self._mark(out, self.source[id(args[0])])
        return out

    def _multiplied(self, names: list[str | None]) -> None:
        """Note a product's operands, views of Linears' outputs or something else."""
        roles: tuple[str, ...] = ("query", "key", "value")
        if len(names) == 2:                   # one of the two products, by itself
            roles = ("query", "key") if None not in names else ("", "value")
        for name, role in zip(names, roles, strict=True):
            if name is not None and role:
                self.role.setdefault(name, role)


def _address(tensor: torch.Tensor) -> int:
    """Of the memory that a tensor and its views share."""
    return tensor.untyped_storage().data_ptr()


def _is_element_wise(module: nn.Module) -> bool:
    """A module that may be an activation: no parameters, and not one that does nothing in eval."""
    passes = isinstance(module, (nn.Identity, nn.ModuleList, nn.modules.dropout._DropoutNd))
    return not passes and next(module.parameters(), None) is None


def _trace(base: nn.Module, stack: str) -> _Trace:
    device = next(base.parameters()).device
    pad = getattr(base.config, "pad_token_id", None)
    token = 1 if pad != 1 else 2
    ids = torch.full((1, TRACE_TOKENS), token, device=device)
    trace, training = _Trace(base, stack), base.training
    base.eval()
    try:
        # inference_mode hides nothing from the trace and leaves no graph behind.
        with torch.inference_mode(), trace:
            base(input_ids=ids, attention_mask=torch.ones_like(ids))
    except Exception as error:  # whatever a model of another kind makes of it
        reason = cut((str(error).strip().splitlines() or [type(error).__name__])[0])
        raise InputError(f"checkpoint: expected an encoder that takes token ids, found "
                         f"{type(base).__name__}: {reason}") from None
    finally:
        base.train(training)
        for hook in trace.hooks:
            hook.remove()
    return trace
