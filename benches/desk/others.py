"""What others can do when told to, as targets: ``benches/desk/others.py:compiled``."""

from __future__ import annotations

import functools

import torch
from torch.nn import functional as F

#: Compiled when first called with a shape.
compiled = torch.compile(F.cross_entropy)
#: In chunks as PyTorch chooses them, gradients found in forward.
linear_chunked = functools.partial(
    F.linear_cross_entropy, options=torch.nn.LinearCrossEntropyOptions()
)


def cce_compiled(input, linear_weight, target, ignore_index=-100, reduction="mean"):
    """Apple's cut cross entropy where there is no GPU: composed, and compiled by inductor."""
    from cut_cross_entropy import linear_cross_entropy

    return linear_cross_entropy(
        input, linear_weight, target, ignore_index, None, reduction, impl="torch_compile"
    )
