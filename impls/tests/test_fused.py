"""The fused losses: against torch in float64, and what they do with memory and graphs."""

from __future__ import annotations

import importlib.util
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("numba", reason="extra fast is not installed")

from nll_impls.fused.cpu import FusedWorkspace, fused, fused_inplace, fused_workspace
from nll_impls.fused.linear import CHUNKS, fused_linear
from nll_impls.fused.long import LONG_BLOCK
from nll_impls.fused.loops import BLOCK
from nll_impls.fused.memory import Buffer, fresh

LOSSES = {
    "fused": fused,
    "fused_workspace": fused_workspace,
    "fused_inplace": fused_inplace,
}
SHAPES = [(5,), (1, 1), (7, 5), (900, 3), (3, 2 * BLOCK + 3), (2, 5, 3), (2, 3, 3, 2), (0, 4)]
TOLERANCE = {torch.float32: 2e-6, torch.float64: 1e-14, torch.bfloat16: 8e-3, torch.float16: 1e-3}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def targets(shape: tuple[int, ...]) -> Tensor:
    classes = shape[0] if len(shape) == 1 else shape[1]
    rows = shape[:0] if len(shape) == 1 else (shape[0], *shape[2:])
    index = torch.randint(classes, rows, generator=torch.Generator().manual_seed(1))
    return index.masked_fill(torch.rand(rows).lt(0.2) & torch.ones(rows).cumsum(0).gt(1), -100)


def gradient(loss: Callable[..., Tensor], leaf: Tensor, *args: Any, **options: Any) -> Tensor:
    """The leaf's gradient, of a loss that may overwrite what it is given."""
    leaf = leaf.detach().clone().requires_grad_()
    value = loss(leaf.clone(), *args, **options)
    value.backward(torch.full_like(value, -2.5))
    assert leaf.grad is not None
    return leaf.grad


@each_loss
@pytest.mark.parametrize("classes", [5, BLOCK, 2 * BLOCK + 3, LONG_BLOCK + 3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_and_blocks_of_any_height(
    loss: Callable[..., Tensor], dtype: torch.dtype, classes: int
) -> None:
    """What one row or block was shifted by overflows or underflows in the next."""
    given = random(6, classes)
    given += torch.tensor([0.0, -1e3, 1e3, 0.0, 1e3, -1e3], dtype=torch.float64)[:, None]
    given[3:, : classes - classes // 3] -= torch.tensor([[800.0], [torch.inf], [torch.inf]])
    given, target = given.to(dtype), torch.full((6,), classes - 1)
    exact = given.double()
    # In float64 torch's own gradient under smoothing has fewer digits than this one.
    smoothings = (0.0, 0.2) if dtype == torch.float32 else (0.0,)
    for reduction, smoothing in itertools.product(("none", "mean"), smoothings):
        options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
        want = F.cross_entropy(exact, target, **options)
        near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
        torch.testing.assert_close(loss(given, target, **options).double(), want, **near)
        got = gradient(loss, given, target, **options)
        slope = gradient(F.cross_entropy, exact, target, **options)
        torch.testing.assert_close(got.double(), slope, **near)


@each_loss
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_value_and_gradient(
    loss: Callable[..., Tensor], dtype: torch.dtype, shape: tuple[int, ...]
) -> None:
    given, target = (3 * random(*shape)).to(dtype), targets(shape)
    classes = shape[0] if len(shape) == 1 else shape[1]
    weight = (random(classes).abs() + 0.1).to(dtype)
    for reduction, smoothing, each in itertools.product(
        ("none", "sum", "mean"), (0.0, 0.2), (None, weight)
    ):
        options: dict[str, Any] = {"reduction": reduction, "label_smoothing": smoothing}
        exact = {**options, "weight": None if each is None else each.double()}
        want = F.cross_entropy(given.double(), target, **exact)
        value = loss(given, target, weight=each, **options)
        near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype], "equal_nan": True}
        torch.testing.assert_close(value.double(), want, **near)
        if shape[0] == 0:
            continue
        got = gradient(loss, given, target, weight=each, **options)
        slope = gradient(F.cross_entropy, given.double(), target, **exact)
        torch.testing.assert_close(got.double(), slope, **near)


@each_loss
@pytest.mark.parametrize("upstream", [1.0, 0.25, 3.0, 8192.0])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_short_gradients_are_rounded_once(
    loss: Callable[..., Tensor], dtype: torch.dtype, upstream: float
) -> None:
    given, target = (4 * random(9, 1500)).to(dtype), torch.arange(9)
    exact = given.double().requires_grad_()
    F.cross_entropy(exact, target).backward()
    assert exact.grad is not None
    want = exact.grad * upstream
    for options in ({}, {"retain_graph": True}):
        leaf = given.clone().requires_grad_()
        value = loss(leaf.clone(), target)
        value.backward(torch.full_like(value, upstream, dtype=dtype), **options)
        assert leaf.grad is not None
        # one rounding to 16 bits; a hundredth of it for the float32 inside
        half_step = want.abs() * torch.finfo(dtype).eps / 2
        smallest = torch.finfo(dtype).smallest_normal * torch.finfo(dtype).eps
        assert ((leaf.grad.double() - want).abs() <= 1.01 * half_step + smallest).all()


@each_loss
def test_both_gradients_at_once(loss: Callable[..., Tensor]) -> None:
    given, given_target = random(4, 6), random(4, 6, seed=2).softmax(1)
    found = []
    for function in (F.cross_entropy, loss):
        leaf, target = given.clone().requires_grad_(), given_target.clone().requires_grad_()
        function(leaf.clone(), target).backward()
        found.append((leaf.grad, target.grad))
    torch.testing.assert_close(found[1], found[0])


@each_loss
def test_probabilities_and_their_gradient(loss: Callable[..., Tensor]) -> None:
    given, weight = random(4, 6, 3), random(6).abs()
    target = random(4, 6, 3, seed=2).softmax(1).requires_grad_()
    options: dict[str, Any] = {"weight": weight, "label_smoothing": 0.3}
    want = torch.autograd.grad(F.cross_entropy(given, target, **options), target)
    got = torch.autograd.grad(loss(given, target, **options), target)
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(
        gradient(loss, given, target.detach(), **options),
        gradient(F.cross_entropy, given, target.detach(), **options),
    )


@each_loss
@pytest.mark.parametrize("special", [float("inf"), -float("inf"), float("nan"), 3e38, -3e38])
def test_special_logits(loss: Callable[..., Tensor], special: float) -> None:
    given = random(4, BLOCK + 5).float()
    given[0, 3] = given[1, BLOCK + 1] = special
    given[2] = special
    target = torch.tensor([3, 4, 0, 0])
    want = F.cross_entropy(given, target, reduction="none")
    torch.testing.assert_close(loss(given, target, reduction="none"), want, equal_nan=True)
    got = gradient(loss, given, target, reduction="sum")
    slope = gradient(F.cross_entropy, given, target, reduction="sum")
    torch.testing.assert_close(got, slope, equal_nan=True)


@each_loss
def test_what_makes_no_sense_is_refused(loss: Callable[..., Tensor]) -> None:
    given = random(2, 3)
    with pytest.raises(IndexError, match="target 7 of row 1 is neither a class"):
        loss(given, torch.tensor([0, 7]))
    with pytest.raises(ValueError, match="reduction"):
        loss(given, torch.tensor([0, 1]), reduction="median")
    with pytest.raises(ValueError, match="runs on the CPU"):
        loss(given.to("meta"), torch.tensor([0, 1]))


@each_loss
def test_a_second_derivative_is_refused(loss: Callable[..., Tensor]) -> None:
    leaf = random(2, 3).requires_grad_()
    value = loss(leaf.clone(), torch.tensor([0, 1]))
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(value, leaf, create_graph=True)


@each_loss
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_kept_graph_gives_the_same_again(loss: Callable[..., Tensor], reduction: str) -> None:
    leaf = random(4, 3).requires_grad_()
    value = loss(leaf.clone(), torch.tensor([0, 1, 2, -100]), reduction=reduction).sum()
    (first,) = torch.autograd.grad(value, leaf, torch.tensor(3.0), retain_graph=True)
    before = first.clone()
    (second,) = torch.autograd.grad(value, leaf, torch.tensor(1.0))
    torch.testing.assert_close(first, before, rtol=0, atol=0)
    torch.testing.assert_close(second * 3, first)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_one_thread_and_two_give_the_same_bits(dtype: torch.dtype) -> None:
    given, target = random(130, 50).to(dtype), targets((130, 50))
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(gradient(fused, given, target))
    finally:
        torch.set_num_threads(threads)
    torch.testing.assert_close(*found, rtol=0, atol=0)


# --- where the gradient is written -----------------------------------------------------------


def test_fresh_memory_is_aligned_and_shaped() -> None:
    like = torch.empty(3, 5, dtype=torch.bfloat16)
    made = fresh(like)
    assert (made.shape, made.dtype) == (like.shape, like.dtype)
    assert made.data_ptr() % 64 == 0


def test_a_buffer_is_used_again_once_nobody_holds_it() -> None:
    buffer, like = Buffer(), torch.empty(3, 5)
    first = buffer(like)
    alias, where = first.view(-1)[2:], first.data_ptr()
    del first
    assert buffer(like).data_ptr() != where, "an alias is still held"
    del alias
    where = buffer(like).data_ptr()
    assert buffer(like[:2]).data_ptr() == where
    assert buffer(torch.empty(30, 50)).shape == (30, 50)


def test_a_callers_buffer_gets_the_gradient() -> None:
    memory = torch.empty(40)
    loss, leaf = FusedWorkspace(memory), random(4, 9).float().requires_grad_()
    loss(leaf, torch.tensor([0, 1, 2, 3])).backward()
    assert leaf.grad is not None
    assert leaf.grad.data_ptr() == memory.data_ptr()
    torch.testing.assert_close(memory[:36].view(4, 9), leaf.grad, rtol=0, atol=0)
    with pytest.raises(ValueError, match="contiguous"):
        FusedWorkspace(torch.empty(4, 4).T)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_inplace_leaves_the_gradient_in_the_logits(dtype: torch.dtype) -> None:
    leaf, target = random(4, 9).to(dtype).requires_grad_(), torch.tensor([0, 1, 2, 3])
    given = leaf.clone()
    fused_inplace(given, target).backward()
    torch.testing.assert_close(given.detach(), leaf.grad, rtol=0, atol=0)


def test_inplace_leaves_logits_alone_that_need_no_gradient() -> None:
    given, target = random(4, 9), torch.tensor([0, 1, 2, 3])
    before = given.clone()
    fused_inplace(given, target)
    with torch.no_grad():
        fused_inplace(given.requires_grad_(), target)
    assert torch.equal(given, before)


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("view", [False, True])
def test_other_consumers_of_overwritten_logits_are_told(dtype: torch.dtype, view: bool) -> None:
    leaf, target = random(4, 9).to(dtype).requires_grad_(), torch.tensor([0, 1, 2, 3])
    with pytest.raises(RuntimeError, match="leaf"):
        fused_inplace(leaf, target)
    given = leaf.clone()
    before = given.square().sum()
    value = fused_inplace(given.view(4, 9) if view else given, target)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (value + before).backward()
    given = leaf.clone()
    value = fused_inplace(given.view(4, 9) if view else given, target)
    with pytest.raises(RuntimeError, match="fused_inplace"):
        (value + given.square().sum()).backward()


# --- the other engines and the projection ----------------------------------------------------


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_linear(dtype: torch.dtype, reduction: str) -> None:
    rows, size, classes = 5 * CHUNKS + 3, 8, 70
    given = [random(*s).to(dtype) for s in ((rows, size), (classes, size), (classes,))]
    target = targets((rows, classes))
    ours = [tensor.clone().requires_grad_() for tensor in given]
    exact = [tensor.double().requires_grad_() for tensor in given]
    options: dict[str, Any] = {"reduction": reduction, "label_smoothing": 0.1}
    value = fused_linear(*ours[:2], target, linear_bias=ours[2], **options)
    want = F.cross_entropy(F.linear(*exact), target, **options)
    upstream = torch.linspace(-2, 2, max(1, want.numel()), dtype=torch.float64).view(want.shape)
    value.backward(upstream.to(dtype))
    want.backward(upstream.to(dtype).double())
    near = {"rtol": 4 * TOLERANCE[dtype], "atol": 4 * TOLERANCE[dtype]}
    torch.testing.assert_close(value.double(), want, **near)
    for got, slope in zip(ours, exact, strict=True):
        torch.testing.assert_close(got.grad.double(), slope.grad, **near)


def test_linear_refuses() -> None:
    hidden, head = random(4, 3), random(5, 3)
    with pytest.raises(ValueError, match="hidden states of size 2"):
        fused_linear(hidden[:, :2], head, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(TypeError, match="one dtype"):
        fused_linear(hidden.float(), head, torch.zeros(4, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="class probabilities"):
        fused_linear(hidden, head, random(4, 5).softmax(1).requires_grad_())


# torch's compiler warns of what torch itself has deprecated
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs a C++ compiler")
def test_compiled() -> None:
    from nll_impls.fused.compiled import fused_compiled

    given, target = random(6, 40).float(), targets((6, 40))
    torch.testing.assert_close(
        gradient(fused_compiled, given, target), gradient(F.cross_entropy, given, target)
    )


def _run(program: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    usual = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    environment = {**usual, "OMP_NUM_THREADS": "1", **environment}
    return subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, env=environment, check=False
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_triton_says_what_it_needs() -> None:
    done = _run(["-c", "from nll_impls.fused.on_triton import fused_triton"])
    assert "ImportError: fused_triton needs a GPU" in done.stderr
    assert "TRITON_INTERPRET=1" in done.stderr


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_conforms_in_the_interpreter() -> None:
    rules = ("values.row_loss", "ignore_index.zero_gradient", "soft_target.gradient")
    asked = [word for rule in rules for word in ("--rules", rule)]
    program = ["-m", "nll_conformance", "check", "fused_triton", "--timeout", "120"]
    quick = ["--profile", "quick", "--dtype", "float32,bfloat16"]
    done = _run([*program, *quick, *asked], TRITON_INTERPRET="1")
    assert done.returncode == 0, done.stdout + done.stderr


COMPILES = """
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, compile
from nll_impls.fused import triton_kernels as kernels

POINTERS = {"target": "*i64", "weight": "*fp64", "hard": "*fp64", "found": "*fp64", "pull": "*fp64"}
NUMBERS = {"rows": "i32", "classes": "i32", "ignore_index": "i32"}
FLAGS = ("labelled", "weighted", "shared", "each_share", "each_pull", "skips", "sums", "gradients")


def compiled(kernel, types, constants):
    signature = {**types, **dict.fromkeys(constants, "constexpr")}
    order = {name: signature[name] for name in kernel.arg_names}
    return compile(ASTSource(kernel, order, constants), target=GPUTarget("cuda", 90, 32))


for dtype, wide in (("fp32", "fp32"), ("bf16", "fp32"), ("fp16", "fp32"), ("fp64", "fp64")):
    own = {name: f"*{dtype}" for name in ("logits", "gradient", "unless_one")}
    types = {**POINTERS, **NUMBERS, **own, "share": f"*{wide}"}
    for whole in (True, False):
        for off in ((), ("skips",), ("skips", "gradients"), ("sums",), ("labelled", "weighted")):
            flags = {"whole": whole, **{flag: flag not in off for flag in FLAGS}}
            wide_type = tl.float64 if wide == "fp64" else tl.float32
            compiled(kernels.sweep, types, {"block": 128, "wide": wide_type, **flags})
    factor = {"gradient": f"*{dtype}", "factor": f"*{dtype}", "size": "i64"}
    compiled(kernels.times, factor, {"block": 128})
types = {"target": "*i64", "weight": "*fp64", "found": "*fp64", "right": "*i1", **NUMBERS}
compiled(kernels.survey, types, {"block": 128, "weighted": True})
"""


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_kernels_compile_for_a_gpu_that_is_not_there() -> None:
    done = _run(["-c", COMPILES])
    assert done.returncode == 0, done.stderr
