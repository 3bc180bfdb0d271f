"""Losses that are wrong in one way each; the rest is torch's."""

import ctypes
import functools
import os
import time

import torch
import torch.nn.functional as F


def zeros(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    right = F.cross_entropy(input, target, weight, None, ignore_index, None, reduction)
    return right * 0.0


def constant(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    right = F.cross_entropy(input, target, weight, None, ignore_index, None, reduction)
    return right * 0.0 + 1.0


def sum_for_mean(
    input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    reduction = "sum" if reduction == "mean" else reduction
    return F.cross_entropy(
        input, target, weight, None, ignore_index, None, reduction, label_smoothing
    )


def no_weight(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    return F.cross_entropy(
        input, target, None, None, ignore_index, None, reduction, label_smoothing
    )


def no_ignore_index(
    input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    return F.cross_entropy(input, target, weight, None, -100, None, reduction, label_smoothing)


def no_reduction(
    input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    return F.cross_entropy(
        input, target, weight, ignore_index=ignore_index, label_smoothing=label_smoothing
    )


def no_smoothing(
    input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0
):
    return F.cross_entropy(input, target, weight, None, ignore_index, None, reduction)


def no_mask(input, target, ignore_index=-100, reduction="mean", mask=None):
    return F.cross_entropy(input, target, ignore_index=ignore_index, reduction=reduction)


def crashes(input, target, reduction="mean"):
    """Takes the process down for many rows."""
    if input.dim() == 2 and input.shape[0] > 60:
        ctypes.string_at(0)
    return F.cross_entropy(input, target, reduction=reduction)


def hangs(input, target, reduction="mean"):
    """Never comes back from many rows."""
    if input.dim() == 2 and input.shape[0] > 60:
        while True:
            time.sleep(1)
    return F.cross_entropy(input, target, reduction=reduction)


def leaves(input, target, reduction="mean"):
    """Ends the process, politely, for many rows."""
    if input.dim() == 2 and input.shape[0] > 60:
        os._exit(0)
    return F.cross_entropy(input, target, reduction=reduction)


def plain(input, target):
    return F.cross_entropy(input, target)


not_callable = 3
makes_modules = functools.partial(torch.nn.CrossEntropyLoss, label_smoothing=0.1)


def no_tensor(input, target):
    return 1.0


def needs_more(input, target, temperature):
    return F.cross_entropy(input / temperature, target)


def gaussian(mu, observed, spread):
    return F.gaussian_nll_loss(mu, observed, spread)


def dies_at_once(input, target):
    os.abort()


def slow(input, target, reduction="mean"):
    time.sleep(0.05)
    return F.cross_entropy(input, target, reduction=reduction)


class Module(torch.nn.Module):
    """Options to the constructor, tensors to forward."""

    def __init__(self, ignore_index=-100, reduction="mean"):
        super().__init__()
        self.ignore_index, self.reduction = ignore_index, reduction

    def forward(self, input, target):
        return F.cross_entropy(
            input, target, ignore_index=self.ignore_index, reduction=self.reduction
        )


instance = torch.nn.CrossEntropyLoss(reduction="sum", label_smoothing=0.1)
