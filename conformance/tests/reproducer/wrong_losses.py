"""Losses that break many rules at once, made of one that keeps them."""

from __future__ import annotations

import functools
import os
import random
from collections.abc import Callable
from typing import Any

import torch

Loss = Callable[..., Any]


def off(right: Loss) -> Loss:
    """Another number, and another gradient."""

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        return right(*tensors, **options) * 1.5 + 0.25

    return loss


def accepts(right: Loss) -> Loss:
    """Anything goes in; a double comes out, with a gradient that has a graph of its own."""

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        del options
        return tensors[0].double().nan_to_num().pow(2).sum() + 1

    return loss


def meddles(right: Loss) -> Loss:
    """Overwrites its arguments, keeps them, draws random numbers, shares its result."""
    kept: list[Any] = []

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        random.random()
        value = right(*tensors, **options)
        for tensor in (*tensors, *options.values()):
            if isinstance(tensor, torch.Tensor):
                kept.append(tensor)
                tensor.data = tensor.data.clone().fill_(1)
        if value.requires_grad:
            value.register_hook(spoil)
        return value

    return loss


def spoil(upstream: torch.Tensor) -> None:
    """Overwrites an upstream gradient, each number of it once if strides of 0 repeat it."""
    once = tuple(slice(1) if step == 0 else slice(None) for step in upstream.stride())
    upstream.data[once].add_(1)


def drifts(right: Loss) -> Loss:
    """The first call is right, later ones are not, and they spoil the results before."""
    results: list[Any] = []

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        value = right(*tensors, **options) * (1 + 0.5 * len(results))
        for result in results:
            result.data.add_(1)
        results[:] = [*results[:3], value]
        return value

    return loss


def hides(right: Loss) -> Loss:
    """What flows back counts only where it is finite."""

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        value = right(*tensors, **options)
        if value.requires_grad:
            value.register_hook(lambda upstream: upstream.where(upstream.isfinite(), 0.0))
        return value

    return loss


def litters(right: Loss) -> Loss:
    """Each call leaves a file open."""

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        os.open(os.devnull, os.O_RDONLY)
        return right(*tensors, **options)

    return loss


def parts(right: Loss) -> Loss:
    """Each rank, or row, is off by an amount of its own."""

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        value = right(*tensors, **options)
        return value * torch.linspace(1.0, 2.0, value.numel(), dtype=value.dtype).view_as(value)

    return loss


_BUFFERS: dict[Any, torch.Tensor] = {}


class _Buffered(torch.autograd.Function):
    """The same tensor, whose gradients all lie in one buffer for their shape."""

    @staticmethod
    def forward(_ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.view_as(tensor)

    @staticmethod
    def backward(_ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        key = (grads[0].shape, grads[0].dtype)
        return _BUFFERS.setdefault(key, torch.empty_like(grads[0])).copy_(grads[0])


def reuses(right: Loss) -> Loss:
    """A gradient is overwritten by the next of its shape."""

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        return right(*[_Buffered.apply(tensor) for tensor in tensors], **options)

    return loss


def forgets(right: Loss) -> Loss:
    """A call that raises leaves gradients off."""

    @functools.wraps(right)
    def loss(*tensors: Any, **options: Any) -> Any:
        before = torch.is_grad_enabled()
        torch.set_grad_enabled(False)
        right(*tensors, **options)
        torch.set_grad_enabled(before)
        return right(*tensors, **options)

    return loss


WRONG = (off, accepts, meddles, drifts, hides, litters, parts, reuses, forgets)


def __getattr__(name: str) -> Loss:
    """``off_of_cross_entropy`` and the like: what a TARGET can name."""
    kind, of, family = name.partition("_of_")
    if not of:
        raise AttributeError(name)
    loss = globals()[kind](right(family))
    globals()[name] = loss
    return loss  # type: ignore[no-any-return]


RIGHT = {
    "cross_entropy": "nll_impls.losses.masked:loss",
    "nll": "torch.nn.functional:nll_loss",
    "prob_nll": "nll_impls.losses.prob_masked:loss",
    "gaussian_nll": "torch.nn.functional:gaussian_nll_loss",
    "poisson_nll": "torch.nn.functional:poisson_nll_loss",
    "bce_with_logits": "torch.nn.functional:binary_cross_entropy_with_logits",
    "linear_cross_entropy": "nll_impls.losses.linear_then_cross_entropy:loss",
    "causal_cross_entropy": "nll_impls.losses.causal_shifted:loss",
    "vocab_parallel_cross_entropy": "nll_impls.variants.parallel:parallel_merged",
}


def right(family: str) -> Loss:
    """A loss of the family that keeps its rules."""
    from nll_conformance.targets import lazily

    return lazily(RIGHT[family])()
