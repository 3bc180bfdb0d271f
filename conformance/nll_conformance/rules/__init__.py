"""The sentences of the contract, a module for each theme; a rule's id is where it lives."""

#: The order in which themes are judged: the simplest first, so that what is reported first
#: is what should be mended first.  "..." stands for every theme not named here.
ORDER = (
    "call",
    "values",
    "reductions",
    "gradients",
    "autograd",
    "stability",
    "...",
    "ignore_index",
    "weight",
    "label_smoothing",
    "mask",
    "soft_target",
    "shapes",
    "layout",
    "dtypes",
    "splits",
    "reuse",
    "side_effects",
    "transforms",
    "determinism",
    "errors",
    "combinations",
)

#: Where the first failure ends the run, these go first: "likeliest" of
#: ``selftest --profile quick --matrix --json FILE``.
LIKELIEST: tuple[str, ...] = ()
