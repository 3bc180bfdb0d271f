"""The plain Gaussian call, and what its variance may look like."""

from __future__ import annotations

from ...cases import Context, Draft, Draw, Variation
from ...elementwise import fit
from ...recipes import TensorRecipe

#: Input shapes for which a variance without the last dimension is told from a broadcast
#: one only by the documentation come first.
SHAPES = ((3, 3), (2, 2, 2), (4, 2), (2, 3, 3), (3, 1), (2, 3), (2, 3, 4))


def plain(context: Context, draw: Draw) -> Draft:
    """``f(input, target, var)`` with variances of the input's shape from 1/8 to 2."""
    rows = (draw.integer(1, 4), draw.among((3, 1, 2, 5)))
    grad = "gradient" in context.capabilities
    dtype = context.dtype

    def scattered(seed: int, grad: bool = False) -> TensorRecipe:
        return TensorRecipe("scatter", rows, dtype, scale=-1, seed=seed, grad=grad)

    return Draft(
        context=context,
        tensors={
            "input": scattered(draw.integer(0, 99), grad),
            "target": scattered(draw.integer(100, 199)),
            "var": TensorRecipe(
                "levels",
                rows,
                dtype,
                scale=-3,
                offset=0.125,
                modulus=16,
                seed=draw.integer(0, 99),
                grad=grad,
            ),
        },
        rows=rows,
        fit=fit,
    )


def everything(draft: Draft, draw: Draw) -> None:
    """Variance shapes, the constant and the floor together."""
    full = draw.yes()
    if draft.can("full"):
        draft.options["full"] = full
    if draft.can("homoscedastic") and draft.rows and draw.yes():
        draw.among((last_dimension_one, without_last_dimension))(draft, draw)
    if draw.yes() and draft.can("eps"):
        some_below(0.5)(draft, draw)
        draft.options["eps"] = 0.5
    if draw.yes() and draft.can("target_gradient"):
        draft.change("target", grad=True)


# --- magnitudes -----------------------------------------------------------------------------


def wide_variances(draft: Draft, draw: Draw) -> None:
    """Variances well away from one on either side, residuals to match."""
    scale = draw.among((-6, 4, -3, 8, 1))
    draft.change("var", scale=scale - 3, offset=2.0 ** (scale - 3), modulus=16)
    draft.change("input", scale=scale // 2 - 1)
    draft.change("target", scale=scale // 2 - 1)


def small_variances(draft: Draft, draw: Draw) -> None:
    """Sure of itself and wrong: quotients in the hundreds, which nothing may clamp."""
    draft.change("var", scale=-10, offset=2.0**-9, modulus=7)


def large_residuals(draft: Draft, draw: Draw) -> None:
    """Residuals in the hundreds or thousands; their squares fit the dtype."""
    offsets = [100.0, -100.0, 60.0]
    if draft.context.dtype != "float16":
        offsets += [30000.0]
    draft.change("input", offset=draw.among(offsets))


def variances_below_half(draft: Draft, draw: Draw) -> None:
    """Variances whose squares vanish in float16, residuals to match."""
    draft.change("var", scale=-17, offset=2.0**-13)
    for name in ("input", "target"):
        draft.change(name, scale=-9)


def residuals_beyond_half(draft: Draft, draw: Draw) -> None:
    """Residuals whose squares are beyond float16, and variances that bring them back."""
    draft.change("input", offset=draw.among((1000.0, -600.0, 2000.0)))
    draft.change("var", scale=9, offset=4096.0)


def close_prediction(draft: Draft, draw: Draw) -> None:
    """Input and target far from zero and near each other: only their difference counts."""
    offset = draw.among((64.0, -64.0, 1024.0, 16.0))
    for name in ("input", "target"):
        draft.change(name, regime="levels", modulus=5, offset=offset, scale=0)
    draft.change("target", seed=draft.tensors["input"].seed + 1)


def exact_prediction(draft: Draft, draw: Draw) -> None:
    """Input and target are equal: the logarithm alone is left."""
    same = draft.tensors["input"]
    draft.change("target", seed=same.seed, regime=same.regime, scale=same.scale)


# --- the floor ------------------------------------------------------------------------------


def some_below(eps: float) -> Variation:
    """About half of the variances lie below ``eps``, zero among them."""

    def lower(draft: Draft, draw: Draw) -> None:
        steps = 16
        draft.change(
            "var",
            scale=-3,
            offset=0.0,
            modulus=steps // 2 if eps >= 0.5 else steps,
            seed=draw.integer(0, 40),
        )
        if 0 not in draft.tensors["var"].shape:
            first = (0,) * len(draft.tensors["var"].shape)
            draft.edit("var", (first, draw.among((0.0, eps / 4, eps / 2))))

    return lower


def below_default(draft: Draft, draw: Draw) -> None:
    """Variances below the default floor of 1e-6, residuals so small that nothing overflows."""
    for name in ("input", "target"):
        draft.change(name, scale=-12)
    draft.change("var", regime="constant", offset=draw.among((0.0, 2.0**-24, 2.0**-22)))


def floor(*values: float) -> Variation:
    """One of these floors, with variances on both sides of it."""

    def set_floor(draft: Draft, draw: Draw) -> None:
        eps = draw.among(values)
        draft.options["eps"] = eps
        some_below(eps)(draft, draw)

    return set_floor


def above_floor(draft: Draft, draw: Draw) -> None:
    """A floor that is not negligible, below every variance, or none at all."""
    draft.options["eps"] = eps = draw.among((0.125, 0.25, 0.0))
    draft.change("var", offset=0.25 + 0.125 * draw.integer(0, 2))
    if eps == 0.0 and draft.context.dtype != "float16":  # no floor, not the default one either
        draft.change("var", regime="constant", offset=2.0**-22)


def everything_below(draft: Draft, draw: Draw) -> None:
    """A floor above every variance."""
    draft.options["eps"] = draw.among((4.0, 2.5))


# --- broadcasting ---------------------------------------------------------------------------


def last_dimension_one(draft: Draft, draw: Draw) -> None:
    """One variance for the last dimension, kept as size 1."""
    draft.change("var", shape=(*draft.rows[:-1], 1))


def without_last_dimension(draft: Draft, draw: Draw) -> None:
    """One variance for the last dimension, which the variance does not have."""
    draft.change("var", shape=draft.rows[:-1])


def every_digit_of_one(draft: Draft, draw: Draw) -> None:
    """One variance for the last dimension, that no narrower dtype can hold."""
    without_last_dimension(draft, draw)
    draft.change("var", offset=0.125 + 1 / 48)  # no power of two ends its digits


def homoscedastic(*variations: Variation) -> Variation:
    """Shapes of the input at which a variance's place matters, then the variance's."""

    def shape(draft: Draft, draw: Draw) -> None:
        draft.resize(draw.among(SHAPES))
        if draft.can("homoscedastic"):
            draw.among(variations)(draft, draw)

    return shape


def one_unit_dimension(draft: Draft, draw: Draw) -> None:
    """One dimension of the variance has size 1, first and middle ones too."""
    shape = draw.among(((4, 3, 2, 2), (2, 3, 3), (3, 2), (2, 2, 2), (3, 3)))
    draft.resize(shape)
    where = draw.integer(0, len(shape) - 1)
    draft.change("var", shape=(*shape[:where], 1, *shape[where + 1 :]))


def any_broadcast(draft: Draft, draw: Draw) -> None:
    """Several dimensions of the variance have size 1."""
    shapes = ((4, 3, 2, 2), (4, 3, 1, 1)), ((3, 2), (1, 1)), ((2, 3, 2), (2, 1, 1))
    rows, var = draw.among(shapes)
    draft.resize(rows)
    draft.change("var", shape=var)


def broadcast_target(draft: Draft, draw: Draw) -> None:
    """One dimension of the target has size 1: every input has the same target along it."""
    shape = draw.among(((3, 2), (3, 3), (2, 3, 2), (4, 1)))
    draft.resize(shape)
    where = draw.integer(0, len(shape) - 1)
    draft.change("target", shape=(*shape[:where], 1, *shape[where + 1 :]))


# --- what must be refused -------------------------------------------------------------------


def negative(draft: Draft, draw: Draw) -> None:
    """One variance is negative."""
    first = (0,) * len(draft.rows)
    draft.edit("var", (first, draw.among((-1.0, -0.125, -1e-3))))


def wrong_shape(draft: Draft, draw: Draw) -> None:
    """A variance that cannot be meant: other sizes, a dimension too many, the wrong one gone."""
    draft.resize((4, 3))
    draft.change("var", shape=draw.among(((3,), (2, 3), (3, 4), (4, 3, 1), (2,), (5, 1))))
