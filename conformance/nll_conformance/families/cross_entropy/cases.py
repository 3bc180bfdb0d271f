"""The plain cross-entropy call: a few rows of ordinary logits, class indices, all defaults."""

from __future__ import annotations

import torch

from ...cases import Context, Draft, Draw, Probe
from ...classification import all_ignored, empty, fit
from ...model import Observation
from ...recipes import TensorRecipe


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target)`` with scattered logits and every class as a possible target."""
    seed = draw.integer(0, 99)
    rows, classes = draw.integer(1, 5), draw.among((3, 2, 5, 7, 10))
    return Draft(
        context=context,
        tensors={
            "input": TensorRecipe(
                "scatter",
                (rows, classes),
                context.dtype,
                scale=-1,
                seed=seed,
                grad="gradient" in context.capabilities,
            ),
            "target": TensorRecipe(
                "levels", (rows,), "int64", modulus=classes, seed=draw.integer(0, 99)
            ),
        },
        rows=(rows,),
        fit=fit,
        classes=classes,
    )


def _mean_of_nothing(seen: Observation) -> str | None:
    """How the mean over nothing came out, if in one of the legal ways."""
    value = seen.value.detach()
    if value.numel() != 1:
        return None
    return "nan" if bool(value.isnan()) else "zero" if float(value) == 0.0 else None


def _output_dtype(seen: Observation) -> str | None:
    """Whether the loss of 16-bit logits comes out in 16 bits or in float32."""
    names = {seen.arguments["input"].dtype: "input", torch.float32: "float32"}
    return names.get(seen.value.dtype)


#: divergence -> (capabilities needed, dtype, variations, classification)
PROBES: dict[str, Probe] = {
    "all_ignored_mean": (frozenset({"ignore_index"}), None, (all_ignored,), _mean_of_nothing),
    "empty_mean": (frozenset({"empty_batch"}), None, (empty,), _mean_of_nothing),
    "half_output": (frozenset(), "bfloat16", (), _output_dtype),
}
