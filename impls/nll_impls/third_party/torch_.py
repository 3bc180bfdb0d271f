"""PyTorch's other ways to a cross entropy: in chunks, compiled, adaptive."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._package import from_package

if TYPE_CHECKING:
    from torch import Tensor

DOCS = "https://docs.pytorch.org/docs/2.13/generated"
#: Rows of a chunk: so few that ordinary inputs take several, the last of them ragged.
ROWS = 7
#: No input takes more chunks than this.
CHUNKS = 256


def load_linear_chunked() -> Callable[..., Any]:
    """``F.linear_cross_entropy`` in chunks of rows, its backward as often as asked."""
    import torch
    from torch.nn import functional

    def torch_linear_chunked(
        input: Tensor,
        linear_weight: Tensor,
        target: Tensor,
        *,
        linear_bias: Tensor | None = None,
        weight: Tensor | None = None,
        ignore_index: int | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        rows = input.shape[0] if input.ndim > 1 else 1
        options: Any = torch.nn.LinearCrossEntropyOptions(
            batch_chunk_size=max(ROWS, math.ceil(rows / CHUNKS)), allow_retain_graph=True
        )
        return functional.linear_cross_entropy(
            input,
            linear_weight,
            target,
            linear_bias=linear_bias,
            weight=weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
            options=options,
        )

    return torch_linear_chunked


def load_compiled() -> Callable[..., Any]:
    """``F.cross_entropy`` under ``torch.compile``."""
    if shutil.which("g++") is None:
        raise ImportError("torch.compile needs g++ here")
    import torch
    from torch.nn import functional

    # Each dtype, rank and set of options is a variant of its own.
    torch._dynamo.config.recompile_limit = 512  # noqa: SLF001 - that is where settings live
    torch._dynamo.config.accumulated_recompile_limit = 4096  # noqa: SLF001 - likewise

    compiled: Any = torch.compile(functional.cross_entropy, dynamic=True)

    def torch_compiled(
        input: Tensor,
        target: Tensor,
        weight: Tensor | None = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> Any:
        return compiled(
            input,
            target,
            weight,
            ignore_index=ignore_index,
            reduction=reduction,
            label_smoothing=label_smoothing,
        )

    return torch_compiled


def load_adaptive() -> Callable[..., Any]:
    """``nn.AdaptiveLogSoftmaxWithLoss`` whose clusters hold nothing but given logits.

    With head weights that are the identity the module's own hidden state is the logits of
    the head; one cutoff below the last class leaves a tail of one class, whose projection is
    set so that its cluster logit is that class's logit.
    """
    import torch

    def torch_adaptive(input: Tensor, target: Tensor, reduction: str = "mean") -> Any:
        classes = input.shape[-1]
        if classes < 2:
            raise ValueError("an adaptive softmax has at least two classes")
        module = torch.nn.AdaptiveLogSoftmaxWithLoss(
            classes, classes, [classes - 1], device=input.device, dtype=input.dtype
        )
        with torch.no_grad():
            module.head.weight.copy_(torch.eye(classes))
        module.requires_grad_(False)
        rows = -module(input, target).output
        return {"none": lambda: rows, "sum": rows.sum, "mean": rows.mean}[reduction]()

    return torch_adaptive


IMPLEMENTATIONS = (
    from_package(
        "torch_linear_chunked",
        load_linear_chunked,
        family="linear_cross_entropy",
        distribution="torch",
        requires=("torch",),
        divergences={"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"},
        precision="input_dtype",
        url=f"{DOCS}/torch.nn.functional.linear_cross_entropy.html",
    ),
    from_package(
        "torch_compiled",
        load_compiled,
        distribution="torch",
        requires=("torch",),
        divergences={"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"},
        precision="input_dtype",
        url="https://docs.pytorch.org/docs/2.13/generated/torch.compile.html",
    ),
    from_package(
        "torch_adaptive",
        load_adaptive,
        distribution="torch",
        requires=("torch",),
        lacks=("spatial", "soft_target", "ignore_minus_100", "empty_batch"),
        max_elements=1_000,  # the head is the identity of the classes
        precision="input_dtype",
        url=f"{DOCS}/torch.nn.AdaptiveLogSoftmaxWithLoss.html",
    ),
)
