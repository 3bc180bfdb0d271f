"""Losses for the plugin's tests; copied to where a test run of its own needs them."""

import os

import torch
import torch.nn.functional as F


def right(input, target, reduction="mean"):
    return F.cross_entropy(input, target, reduction=reduction)


def crashes(input, target, reduction="mean"):
    """Takes its process down where it is asked for a sum."""
    if reduction == "sum":
        os.abort()
    return F.cross_entropy(input, target, reduction=reduction)


def wrong(input, target, reduction="mean"):
    """Doubles the sum."""
    value = F.cross_entropy(input, target, reduction=reduction)
    return value * 2 if reduction == "sum" else value


def warns(input, target, reduction="mean"):
    """Right, if outspoken."""
    import warnings

    warnings.warn("loss was called", UserWarning, stacklevel=2)
    torch.get_num_threads()
    return F.cross_entropy(input, target, reduction=reduction)
