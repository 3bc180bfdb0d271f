"""What PyTorch's own can do when told to, as targets: ``benches/desk/others.py:compiled``."""

from __future__ import annotations

import functools

import torch
from torch.nn import functional as F

#: Compiled when first called with a shape.
compiled = torch.compile(F.cross_entropy)
#: In chunks of rows and classes, gradients found in forward.
linear_chunked = functools.partial(
    F.linear_cross_entropy, options=torch.nn.LinearCrossEntropyOptions()
)
