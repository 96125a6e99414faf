"""A fake CUDA device: tensors "on" it have shapes, types and a device, but no values.

torch's FakeTensorMode raises where two devices are mixed and where a value is read back (``item``,
``tolist``, ``nonzero``, ``bool``). ``NoWaiting`` adds what it lets through although a GPU waits there.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

GPU = torch.device("cuda", 0)
MODE = FakeTensorMode()  # one for all: constants are kept in caches, and two modes do not mix
_COPIES = (torch.ops.aten._to_copy.default, torch.ops.aten.copy_.default)
_READS = (
    torch.ops.aten.index.Tensor,
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
    torch.ops.aten._unsafe_index.Tensor,
)


class Waits(AssertionError):
    """The step waits for the device."""


class NoWaiting(TorchDispatchMode):
    """Raise ``Waits`` at a blocking copy between devices, and at an index that is elsewhere or a mask."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in _COPIES:
            _check_copy(func, args, kwargs)
        elif func in _READS:
            for index in args[1]:
                if index is not None and index.device != args[0].device:
                    raise Waits(f"an index on {index.device} into a tensor on {args[0].device}")
                if index is not None and index.dtype == torch.bool and index.device == GPU:
                    raise Waits("a mask as index: its rows are counted on the device")
        return func(*args, **kwargs)


def _check_copy(func: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
    if func is _COPIES[1]:
        target, source = args[0].device, args[1]
        non_blocking = args[2] if len(args) > 2 else kwargs.get("non_blocking", False)
    else:
        source, non_blocking = args[0], kwargs.get("non_blocking", False)
        target = torch.device(kwargs.get("device") or source.device)
    if target.type == source.device.type:
        return
    if target.type == "cpu":
        raise Waits("values are copied from the device to the host")
    if not non_blocking:
        raise Waits(f"a blocking copy of {tuple(source.shape)} to {target}")


@contextmanager
def device(monkeypatch: Any) -> Iterator[None]:
    """Within it new tensors are fake and none is pinned; caches of constants are emptied after it."""
    monkeypatch.setattr(Tensor, "pin_memory", lambda self: self)  # fake tensors have no pages
    try:
        with MODE:
            yield
    finally:
        forget_constants()


def forget_constants() -> None:
    """Empty every cache of the package, so that no fake tensor stays in one."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "equissl":
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear"):
                    value.cache_clear()


def like(values: Tensor) -> Tensor:
    """A fake tensor of the shape, type and strides of ``values``."""
    with MODE:
        return torch.empty_strided(values.shape, values.stride(), dtype=values.dtype, device=GPU)


def move(model: nn.Module) -> None:
    """Put the registered parameters and buffers of a model on the fake device, as ``model.to`` would.

    A tensor that is none of them stays where it is, and the forward pass fails at it as on a GPU.
    """
    moved: dict[int, Tensor] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                fake = moved.setdefault(id(parameter), like(parameter.detach()))
                if not isinstance(fake, nn.Parameter):
                    fake = nn.Parameter(fake, parameter.requires_grad)
                    moved[id(parameter)] = fake
                module._parameters[name] = fake
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = moved.setdefault(id(buffer), like(buffer))


@contextmanager
def autocast(precision: str) -> Iterator[None]:
    """What Fabric does on a GPU; ``torch.autocast`` turns itself off where there is none."""
    if precision == "32-true":
        with nullcontext():
            yield
        return
    before = torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", True)
    torch.set_autocast_dtype("cuda", torch.float16 if precision.startswith("16") else torch.bfloat16)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled("cuda", False)
        torch.set_autocast_dtype("cuda", before)


@torch.no_grad()
def backward(loss: Tensor) -> None:
    """``loss.backward()`` node by node: torch's engine asks CUDA for its streams, of which there are none."""
    assert loss.grad_fn is not None
    gradients: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    for node in reversed(_in_order(loss.grad_fn)):
        given = gradients.pop(node, {})
        if not given:
            continue
        if hasattr(node, "variable"):
            leaf, gradient = node.variable, given[0]
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
            continue
        result = node(*[given.get(k) for k in range(len(node._input_metadata))])
        for gradient, (after, k) in zip(
            result if isinstance(result, tuple) else (result,), node.next_functions, strict=True
        ):
            if after is None or gradient is None:
                continue
            expected = after.variable if hasattr(after, "variable") else after._input_metadata[k]
            assert gradient.device == expected.device, f"{node.name()}: a gradient on {gradient.device}"
            gradient = gradient.sum_to_size(expected.shape).to(expected.dtype)
            into = gradients.setdefault(after, {})
            into[k] = into[k] + gradient if k in into else gradient


def _in_order(root: Any) -> list[Any]:
    """The nodes below ``root``, every node after all that it passes gradients to."""
    order, seen, stack = [], set(), [(root, False)]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
        elif node not in seen:
            seen.add(node)
            stack += [(node, True), *((n, False) for n, _ in node.next_functions if n is not None)]
    return order


class Fabric:
    """What ``training_step`` asks of Fabric, on the fake device."""

    device = GPU
    global_rank, world_size = 0, 1

    def backward(self, loss: Tensor) -> None:
        backward(loss)

    def clip_gradients(self, module: nn.Module, _: object, max_norm: float, error_if_nonfinite: bool) -> None:
        nn.utils.clip_grad_norm_(module.parameters(), max_norm, error_if_nonfinite=error_if_nonfinite)
