"""The plain cross-entropy call: a few rows of ordinary logits, class indices, all defaults."""

from __future__ import annotations

from ...cases import Context, Draft, Draw
from ...classification import fit
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
