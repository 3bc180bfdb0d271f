"""Each bundled cross entropy against ``F.cross_entropy`` in float64, and its corners."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nll_conformance.model import Implementation
from nll_impls import implementations

#: Fused losses, which refuse a second derivative, have tests of their own.
ALL = {
    i.name: i
    for i in implementations()
    if i.family == "cross_entropy" and not i.load.target.startswith("nll_impls.fused")
}
BY_HAND = {n: i for n, i in ALL.items() if i.load.target.startswith("nll_impls.losses")}
FUNCTIONS = {n: i for n, i in BY_HAND.items() if inspect.isfunction(i.load())}
EXACT = {n: i for n, i in FUNCTIONS.items() if n != "naive"}
SHAPES = [(5,), (1, 5), (7, 5), (40, 3), (3, 70), (4, 1), (2, 5, 3), (2, 3, 3, 2), (2, 5, 0)]


def call(implementation: Implementation, *tensors: Tensor, **options: Any) -> Tensor:
    """The loss, called as its kind is: options to a module's constructor."""
    loss = implementation.load()
    if isinstance(loss, type) and issubclass(loss, nn.Module):
        result: Tensor = loss(**options)(*tensors)
    else:
        result = loss(*tensors, **options)
    return result


def takes(implementation: Implementation, *options: str) -> bool:
    return set(options) <= set(inspect.signature(implementation.load()).parameters)


def logits(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    return (3 * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)


def rows(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape[:0] if len(shape) == 1 else (shape[0], *shape[2:])


def classes(shape: tuple[int, ...]) -> int:
    return shape[0] if len(shape) == 1 else shape[1]


def indices(shape: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randint(classes(shape), rows(shape), generator=generator)


def options_of(count: int, implementation: Implementation) -> Iterator[dict[str, Any]]:
    weights = (None, torch.linspace(0, 2, count, dtype=torch.float64) ** 2 + 0.25)
    everything = itertools.product(
        weights if takes(implementation, "weight") else (None,),
        (-100, 0, 255),
        ("none", "sum", "mean"),
        (0.0, 0.1, 1.0) if takes(implementation, "label_smoothing") else (0.0,),
    )
    for weight, ignore_index, reduction, smoothing in everything:
        options = {"ignore_index": ignore_index, "reduction": reduction}
        if weight is not None:
            options["weight"] = weight
        if smoothing:
            options["label_smoothing"] = smoothing
        yield options


def agree(got: Callable[[Tensor], Tensor], want: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Value and gradient agree for an upstream gradient that is not all ones."""
    seen = []
    for loss in (got, want):
        leaf = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
        value = loss(leaf)
        upstream = torch.linspace(-1, 2, value.numel(), dtype=value.dtype)
        value.backward(upstream.reshape(value.shape) + 0.5)
        seen.append((value.detach(), leaf.grad))
    (value, grad), (true_value, true_grad) = seen
    torch.testing.assert_close(value, true_value, equal_nan=True)
    torch.testing.assert_close(grad, true_grad, equal_nan=True)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", BY_HAND)
def test_class_indices(name: str, shape: tuple[int, ...]) -> None:
    for options in options_of(classes(shape), BY_HAND[name]):
        target = indices(shape)
        if options["ignore_index"] != 0 and target.dim():
            target[::3] = options["ignore_index"]
        agree(
            lambda x: call(BY_HAND[name], x, target, **options),  # noqa: B023  # called here
            lambda x: F.cross_entropy(x, target, **options),  # noqa: B023  # called here
            logits(shape),
        )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", EXACT)
def test_class_probabilities(name: str, shape: tuple[int, ...]) -> None:
    target = logits(shape).flip(0).softmax(0 if len(shape) == 1 else 1)
    for options in options_of(classes(shape), EXACT[name]):
        options["ignore_index"] = -100
        agree(
            lambda x: call(EXACT[name], x, target, **options),  # noqa: B023  # called here
            lambda x: F.cross_entropy(x, target, **options),  # noqa: B023  # called here
            logits(shape),
        )


@pytest.mark.parametrize("name", EXACT)
def test_gradient_of_probabilities(name: str) -> None:
    x, weight = logits((4, 5)), torch.linspace(0.5, 2, 5, dtype=torch.float64)
    options = {"weight": weight, "label_smoothing": 0.2}
    agree(
        lambda q: call(EXACT[name], x, q.softmax(1), **options),
        lambda q: F.cross_entropy(x, q.softmax(1), **options),
        logits((4, 5)).flip(0),
    )


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("name", BY_HAND)
def test_no_rows_and_all_ignored(name: str, reduction: str) -> None:
    empty = torch.zeros(0, dtype=torch.int64)
    ignored = torch.full((3,), -100)
    for x, target in ((logits((0, 5)), empty), (logits((3, 5)), ignored)):
        agree(
            lambda x: call(BY_HAND[name], x, target, reduction=reduction),  # noqa: B023
            lambda x: F.cross_entropy(x, target, reduction=reduction),  # noqa: B023
            x,
        )


@pytest.mark.parametrize("poison", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_ignored_rows_get_exactly_zero(name: str, poison: float) -> None:
    x = logits((4, 5), torch.float32)
    x[1] = poison
    x[3, 2] = poison
    x.requires_grad_()
    value = call(FUNCTIONS[name], x, torch.tensor([0, -100, 4, -100]))
    value.backward()
    assert value.isfinite()
    assert x.grad is not None
    assert x.grad[[1, 3]].eq(0).all() and x.grad.isfinite().all()


@pytest.mark.parametrize("name", EXACT)
def test_minus_infinity_logits(name: str) -> None:
    x = logits((4, 70))
    x[:, ::2] = -torch.inf
    x[1, :40] = -torch.inf  # a whole block of the online softmax
    target = torch.tensor([1, 41, 69, 3])
    agree(
        lambda x: call(EXACT[name], x, target),
        lambda x: F.cross_entropy(x, target),
        x,
    )
    x[0, 1] = -torch.inf
    assert call(EXACT[name], x, target, reduction="none")[0] == torch.inf


@pytest.mark.parametrize("name", EXACT)
def test_nothing_times_infinity(name: str) -> None:
    """A class of probability or weight 0 contributes nothing, however unlikely."""
    x = torch.tensor([[0.0, 0.0, -torch.inf]], dtype=torch.float64).requires_grad_()
    target = torch.tensor([[0.5, 0.5, 0.0]], dtype=torch.float64)
    weight = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    losses = (
        call(EXACT[name], x, target),
        call(EXACT[name], x, torch.tensor([0]), weight=weight, label_smoothing=0.3),
        call(EXACT[name], x, torch.tensor([2]), weight=weight, reduction="sum"),
    )
    for loss in losses:
        assert loss.isfinite()
        (grad,) = torch.autograd.grad(loss, x)
        assert grad.isfinite().all()


@pytest.mark.parametrize("name", EXACT)
def test_far_from_zero(name: str) -> None:
    for offset in (-1e4, 1e4):
        x = torch.tensor([[0.0, 300.0, -300.0]] * 3, dtype=torch.float64) + offset
        agree(
            lambda x: call(EXACT[name], x, torch.arange(3), reduction="none"),
            lambda x: F.cross_entropy(x, torch.arange(3), reduction="none"),
            x,
        )


def test_naive_loses_unlikely_targets() -> None:
    """What its declaration says, so that the claim stays true."""
    naive = ALL["naive"]
    assert call(naive, torch.tensor([[0.0, 200.0]]), torch.tensor([0])) == torch.inf


@pytest.mark.parametrize("name", FUNCTIONS)
def test_uint8_targets(name: str) -> None:
    x, target = logits((2, 5, 3)), indices((2, 5, 3))
    got = call(FUNCTIONS[name], x, target.to(torch.uint8))
    torch.testing.assert_close(got, F.cross_entropy(x, target))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_refuses_what_makes_no_sense(name: str) -> None:
    x, target = logits((3, 5)), torch.tensor([0, 4, 1])
    wrong: list[tuple[Tensor, Tensor, dict[str, Any]]] = [
        (x, torch.tensor([0, 5, 1]), {}),
        (x, torch.tensor([0, -1, 1]), {}),
        (x, target[:2], {}),
        (x, target.unsqueeze(1), {}),
        (x, target.to(torch.int32), {}),
        (x, target.to(torch.float64), {}),
        (x.long(), target, {}),
        (x[0, 0], target[0], {}),
        (x, target, {"reduction": "average"}),
    ]
    if takes(FUNCTIONS[name], "weight", "label_smoothing"):
        wrong += [
            (x, target, {"label_smoothing": 1.5}),
            (x, target, {"label_smoothing": float("nan")}),
            (x, target, {"weight": torch.ones(4)}),
            (x, torch.tensor([0, 5, 1]), {"label_smoothing": 0.1, "weight": torch.ones(5)}),
            (x, x.softmax(1), {"ignore_index": 1}),
        ]
    else:
        wrong.append((x, x.softmax(1), {}))
    for arguments in wrong:
        with pytest.raises((ValueError, TypeError, IndexError, RuntimeError)):
            call(FUNCTIONS[name], *arguments[:2], **arguments[2])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", ALL)
def test_smaller_dtypes(name: str, dtype: torch.dtype) -> None:
    """Near the float64 result, in the input's dtype, with and without autocast."""
    x, target = logits((6, 5), dtype).requires_grad_(), torch.tensor([0, 1, 2, 3, 4, -100])
    want = F.cross_entropy(x.double(), target)
    (want_grad,) = torch.autograd.grad(want, x)
    near = {"rtol": 0.0, "atol": 16 * torch.finfo(dtype).eps}
    value = call(ALL[name], x, target)
    assert value.dtype == dtype
    torch.testing.assert_close(value.double(), want, **near)
    (grad,) = torch.autograd.grad(value, x)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad, want_grad, **near)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(call(ALL[name], x, target).double(), want, **near)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", [n for n, i in FUNCTIONS.items() if i.precision == "fp32_inside"])
def test_fp32_inside_rounds_once(name: str, dtype: torch.dtype) -> None:
    """Value and gradient are those of float32, rounded; ties of rounding may differ."""
    for reduction, eps in itertools.product(("none", "sum", "mean"), (0.0, 0.2)):
        x, target = logits((50, 40), dtype), indices((50, 40))
        seen = []
        for source in (x, x.float()):
            leaf = source.clone().requires_grad_()
            value = call(FUNCTIONS[name], leaf, target, reduction=reduction, label_smoothing=eps)
            (grad,) = torch.autograd.grad(value.sum(), leaf, torch.tensor(0.5).to(value))
            seen += [value.detach().to(dtype), grad.to(dtype)]
        for got, want in zip(seen[:2], seen[2:], strict=True):
            # The sum over rows above happens outside of the loss.
            assert torch.equal(got, want), (reduction, eps)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_masked_or_not_layouts_agree(name: str) -> None:
    x, target = logits((4, 6, 5)), indices((4, 6, 5))
    want = F.cross_entropy(x, target)
    views = (
        x.transpose(1, 2).contiguous().transpose(1, 2),
        torch.stack([x, x], -1)[..., 1],
        x.flip(0).flip(0),
    )
    for view in views:
        before = view.clone()
        torch.testing.assert_close(call(FUNCTIONS[name], view, target), want)
        assert torch.equal(view, before)


def test_mask_counts_what_it_keeps() -> None:
    masked = ALL["masked"].load()
    x, target = logits((4, 5, 3)), indices((4, 5, 3))
    weight = torch.linspace(0.5, 2, 5, dtype=torch.float64)
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 0, 0], [0, 0, 0]]).bool()
    padded = torch.where(mask, target, -100)
    for reduction in ("none", "sum", "mean"):
        options = {"weight": weight, "reduction": reduction, "label_smoothing": 0.1}
        agree(
            lambda x: masked(x, target, mask=mask, **options),  # noqa: B023  # called here
            lambda x: F.cross_entropy(x, padded, **options),  # noqa: B023  # called here
            x,
        )
    q = x.softmax(1)
    rows_alone = F.cross_entropy(x, q, reduction="none")[mask]
    torch.testing.assert_close(masked(x, q, mask=mask), rows_alone.mean())
    with pytest.raises(ValueError, match="mask"):
        masked(x, target, mask=mask[:2])
    with pytest.raises(ValueError, match="mask"):
        masked(x, target, mask=mask.long())


@pytest.mark.parametrize("name", ALL)
def test_second_derivative(name: str) -> None:
    x, target = logits((3, 40)).requires_grad_(), torch.tensor([0, 39, -100])
    assert torch.autograd.gradgradcheck(lambda x: call(ALL[name], x, target), x)


@pytest.mark.parametrize("name", [n for n, i in ALL.items() if "jvp" in i.promises])
def test_forward_derivative(name: str) -> None:
    x, target, tangent = logits((3, 5)), torch.tensor([0, 4, 1]), logits((3, 5)).flip(0)
    value, got = torch.func.jvp(lambda x: call(ALL[name], x, target), (x,), (tangent,))
    grad = torch.func.grad(lambda x: F.cross_entropy(x, target))(x)
    torch.testing.assert_close(value, F.cross_entropy(x, target))
    torch.testing.assert_close(got, (grad * tangent).sum())


@pytest.mark.parametrize("name", [n for n, i in ALL.items() if "vmap" in i.promises])
def test_vmap(name: str) -> None:
    x, target = logits((6, 4, 40)), torch.stack([torch.tensor([0, 39, 5, -100])] * 6)

    def loss(x: Tensor, target: Tensor) -> Tensor:
        return call(ALL[name], x, target)

    got = torch.func.vmap(torch.func.grad_and_value(loss))(x, target)
    for i in range(6):
        grad, value = torch.func.grad_and_value(F.cross_entropy)(x[i], target[i])
        torch.testing.assert_close((got[0][i], got[1][i]), (grad, value))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_without_gradient(name: str) -> None:
    x, target = logits((3, 5)), torch.tensor([0, 4, 1])
    for mode in (torch.no_grad(), torch.inference_mode()):
        with mode:
            torch.testing.assert_close(call(FUNCTIONS[name], x, target), F.cross_entropy(x, target))
