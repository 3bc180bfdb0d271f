"""NLL of log-probabilities: PyTorch's own, and by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nll_conformance.model import DEVICES, DTYPES, Expected, Implementation

from .. import lazily

DIVERGENCES = {"all_ignored_mean": "nan", "empty_mean": "nan", "half_output": "input"}
DOCS = "https://docs.pytorch.org/docs/2.13/generated/"


def image(family: str, rule: str, dtype: str, device: str, **numbers: Any) -> Mapping[str, Any]:
    """The case of (2, 3, 4, 4) images with channels last, as a recipe in JSON."""
    return {
        "family": family,
        "rule": rule,
        "recipe": {
            "input": {
                "shape": [2, 3, 4, 4],
                "dtype": dtype,
                "layout": "transposed",
                "grad": True,
                **numbers,
            },
            "target": {
                "regime": "levels",
                "shape": [2, 4, 4],
                "dtype": "int64",
                "modulus": 3,
            },
        },
        "options": {},
        "upstream": {"regime": "constant", "shape": [], "dtype": dtype, "offset": 1.0},
        "dtype": dtype,
        "device": device,
    }


def not_contiguous(family: str, **numbers: Any) -> tuple[Expected, ...]:
    """What every loss that ends in ``nll_loss`` fails: images with channels last."""
    return tuple(
        Expected(
            rule,
            dtype=dtype,
            device=device,
            reason=(
                "nll_loss2d allocates grad_input with the input's strides and then wants it "
                "contiguous: backward of 4-D input with channels last raises"
            ),
            link="https://github.com/pytorch/pytorch/issues/175084",
            case=image(family, rule, dtype, device, **numbers),
        )
        for rule in (
            "layout.spatial_input",
            "layout.channels_last",
            "layout.every_tensor",
            "combinations.all_options",
        )
        for dtype in DTYPES
        for device in DEVICES
    )


def _nll(name: str, where: str, **declared: Any) -> Implementation:
    return Implementation(
        name=name,
        load=lazily(where),
        family="nll",
        divergences=DIVERGENCES,
        promises=("jvp", "vmap", "deterministic"),
        **declared,
    )


_TORCH = {
    "precision": "input_dtype",
    "expected": not_contiguous("nll", regime="scatter", scale=-1, offset=-2.3),
}

IMPLEMENTATIONS = (
    _nll(
        "torch_nll_loss",
        "torch.nn.functional:nll_loss",
        url=f"{DOCS}torch.nn.functional.nll_loss.html",
        **_TORCH,
    ),
    _nll("torch_nll_loss_module", "torch.nn:NLLLoss", url=f"{DOCS}torch.nn.NLLLoss.html", **_TORCH),
    _nll("nll_gather", "nll_impls.losses.nll_gather:loss", precision="fp32_inside"),
)
