"""The plain Poisson call, rates, counts and Stirling's term."""

from __future__ import annotations

from ...cases import Context, Draft, Draw, Variation
from ...elementwise import fit
from ...recipes import TensorRecipe


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target)`` with log rates around zero and counts from 0 to 6.

    A loss of rates alone gets those.
    """
    rows = (draw.integer(1, 4), draw.among((3, 1, 2, 5)))
    draft = Draft(
        context=context,
        tensors={
            "input": TensorRecipe(
                "scatter",
                rows,
                context.dtype,
                scale=-1,
                seed=draw.integer(0, 99),
                grad="gradient" in context.capabilities,
            ),
            "target": TensorRecipe(
                "levels", rows, context.dtype, modulus=7, seed=draw.integer(0, 99)
            ),
        },
        rows=rows,
        fit=fit,
    )
    if not draft.can("log_rate"):
        rates(draft, draw)
    if context.fixed.get("full"):  # the derivative of Stirling's term at zero has its own rule
        draft.change("target", offset=0.125)
    return draft


def everything(draft: Draft, draw: Draw) -> None:
    """Log rates or rates, with or without Stirling's term, another eps."""
    draft.options["full"] = draw.yes()
    if draft.can("rate") and draw.yes():
        rates(draft, draw)
        if draft.can("eps") and draw.yes():
            draft.options["eps"] = 0.25


def rates(draft: Draft, draw: Draw) -> None:
    """The input is the rate itself, from 1/8 to 8."""
    draft.options["log_input"] = False
    draft.change("input", regime="levels", scale=-3, offset=0.125, modulus=64)


def small_rates(draft: Draft, draw: Draw) -> None:
    """Rates far below one, still far above eps."""
    rates(draft, draw)
    draft.change("input", scale=-10, offset=2.0**-9, modulus=7)


def rates_with_eps(draft: Draft, draw: Draw) -> None:
    """Rates, and an eps that is not negligible beside them."""
    rates(draft, draw)
    draft.options["eps"] = draw.among((0.25, 1.0, 0.01))


def no_eps(draft: Draft, draw: Draw) -> None:
    """Rates of the size of the default eps, which is switched off; no zero among them."""
    rates(draft, draw)
    draft.options["eps"] = 0.0
    if draft.context.dtype != "float16":
        draft.change("input", scale=-28, offset=2.0**-27, modulus=7)


def large_rates(draft: Draft, draw: Draw) -> None:
    """Rates in the hundreds."""
    rates(draft, draw)
    draft.change("input", scale=3, offset=64.0, modulus=9)


def zero_rate(draft: Draft, draw: Draw) -> None:
    """Some rates are exactly zero, with and without counts."""
    rates(draft, draw)
    first = (0,) * len(draft.rows)
    draft.edit("input", (first, 0.0))
    draft.edit("target", (first, draw.among((2.0, 0.0, 1.0))))


def large_log_rates(draft: Draft, draw: Draw) -> None:
    """Log rates whose exponential is large, yet fits the dtype."""
    top = 7.0 if draft.context.dtype == "float16" else draw.among((20.0, 9.0, 60.0, 80.0))
    draft.change("input", offset=top, scale=-2)


def low_log_rates(draft: Draft, draw: Draw) -> None:
    """Log rates far below zero: the exponential vanishes, the product stays."""
    draft.change("input", offset=draw.among((-20.0, -800.0, -9.0, -60.0, -200.0)), scale=-2)


def zero_counts(draft: Draft, draw: Draw) -> None:
    """Nothing was counted: the loss is the rate."""
    draft.change("target", regime="constant", offset=0.0)


def fractional_counts(draft: Draft, draw: Draw) -> None:
    """Targets between whole numbers."""
    draft.change("target", scale=-2, modulus=16)


def counts(*values: float) -> Variation:
    """Counts from a few given ones, cycled over the elements."""

    def set_counts(draft: Draft, draw: Draw) -> None:
        draft.change("target", regime="constant", offset=draw.among(values))

    return set_counts


def large_counts(draft: Draft, draw: Draw) -> None:
    """Counts in the hundreds with log rates near their logarithm."""
    draft.change("target", scale=5, modulus=9, offset=64.0)
    draft.change("input", offset=5.0, scale=-3)
