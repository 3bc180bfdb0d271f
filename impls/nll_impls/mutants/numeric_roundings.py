"""Intermediate results in fewer digits than the declared precision has."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ._base import Call, kept, mutant, reduced, replaced, row_losses

SOURCE = "mixed-precision kernels; fast approximations of exp and log"
FEW = ("values.few_classes", "values.row_loss", "values.confident")
OFFSET = ("stability.common_offset", "stability.huge")
#: Where the rounding is at least as coarse as the input's own it does nothing.
WIDE = ("float32", "float64")


def _through(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype).to(tensor.dtype)


def _valued(call: Call, log_p: Callable[[Tensor], Tensor]) -> Tensor:
    """Faulty log-probabilities; the gradient is the right one."""
    rows = call.rows()
    right = torch.log_softmax(rows.logits, -1)
    wrong = log_p(rows.logits.detach())
    return reduced(rows, kept(rows, row_losses(rows, replaced(right, wrong))))


def _summed(
    call: Call,
    exp: Callable[[Tensor], Tensor],
    log: Callable[[Tensor], Tensor] = torch.log,
) -> Tensor:
    def log_p(x: Tensor) -> Tensor:
        top = x.amax(-1, keepdim=True)
        shifted = x - torch.where(torch.isneginf(top), 0.0, top)
        return shifted - log(exp(shifted).sum(-1, keepdim=True))

    return _valued(call, log_p)


@mutant(source=SOURCE, caught_by=FEW)
def exp_in_bfloat16(call: Call) -> Tensor:
    """Exp takes and gives bfloat16."""
    return _summed(call, lambda d: d.bfloat16().exp().to(d.dtype))


@mutant(source=SOURCE, caught_by=FEW)
def exp_rounded_to_bfloat16(call: Call) -> Tensor:
    """Exp is stored in bfloat16."""
    return _summed(call, lambda d: _through(d.exp(), torch.bfloat16))


@mutant(source=SOURCE, caught_by=FEW)
def exp_rounded_to_float16(call: Call) -> Tensor:
    """Exp is stored in float16."""
    return _summed(call, lambda d: _through(d.exp(), torch.float16))


@mutant(source=SOURCE, caught_by=FEW)
def difference_in_bfloat16(call: Call) -> Tensor:
    """Exp is taken of differences to the maximum rounded to bfloat16."""
    return _summed(call, lambda d: _through(d, torch.bfloat16).exp())


def _polynomial(shifted: Tensor) -> Tensor:
    """2**k times a polynomial of the fourth degree: right to about 4e-6."""
    exponent = (shifted * 1.4426950408889634).clamp(min=-1000.0)
    whole = exponent.round()
    r = (exponent - whole) * 0.6931471805599453
    series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0))))
    return torch.where(torch.isneginf(shifted), 0.0, torch.ldexp(series, whole))


@mutant(source=SOURCE, caught_by=FEW, dtypes=WIDE)
def exp_by_short_polynomial(call: Call) -> Tensor:
    """Exp by a polynomial that is right to five digits."""
    return _summed(call, _polynomial)


@mutant(
    source=SOURCE,
    caught_by=FEW,
    # 57 roundoffs in the exponent of float32 are what fast exponentials are allowed.
    dtypes=("float64",),
)
def log2_of_e_cut_short(call: Call) -> Tensor:
    """exp2 of 1.4427 times the difference."""
    return _summed(call, lambda d: (d * 1.4427).exp2())


@mutant(source=SOURCE, caught_by=("values.row_loss", "values.few_classes", "values.tiny"))
def log_in_bfloat16(call: Call) -> Tensor:
    """The logarithm of the sum is stored in bfloat16."""
    return _summed(call, torch.exp, lambda s: _through(s.log(), torch.bfloat16))


@mutant(source=SOURCE, caught_by=("values.row_loss", "values.few_classes", "values.tiny"))
def log_in_float16(call: Call) -> Tensor:
    """The logarithm of the sum is stored in float16."""
    return _summed(call, torch.exp, lambda s: _through(s.log(), torch.float16))


@mutant(source=SOURCE, caught_by=(FEW[0], *OFFSET), dtypes=WIDE)
def logits_in_bfloat16(call: Call) -> Tensor:
    """The logits are rounded to bfloat16."""
    return _valued(call, lambda x: torch.log_softmax(_through(x, torch.bfloat16), -1))


@mutant(source=SOURCE, caught_by=(FEW[0], *OFFSET), dtypes=("float32",))
def logits_in_tensor_float(call: Call) -> Tensor:
    """The logits keep eleven significant bits, as in TF32."""

    def cut(x: Tensor) -> Tensor:
        if x.dtype != torch.float32:  # the format of one unit, for one dtype
            return x
        bits = x.view(torch.int32)
        rounded = (bits + 0x1000) & ~0x1FFF
        return torch.where(x.isfinite(), rounded.view(torch.float32), x)

    return _valued(call, lambda x: torch.log_softmax(cut(x), -1))


@mutant(source=SOURCE, caught_by=(FEW[0], *OFFSET), dtypes=("float32", "float64", "float16"))
def logit_of_target_in_bfloat16(call: Call) -> Tensor:
    """The target's logit is read in bfloat16, those of the sum are not."""
    return _valued(
        call, lambda x: _through(x, torch.bfloat16) - torch.logsumexp(x, -1, keepdim=True)
    )
