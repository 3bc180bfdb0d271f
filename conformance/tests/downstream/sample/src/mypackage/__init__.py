"""A third party's package: one loss, and how it declares it to nll-conformance."""

from __future__ import annotations

from nll_conformance import Implementation, lazily


def implementations() -> Implementation:
    """The entry point of group ``nll_conformance.implementations``."""
    return Implementation(
        name="mypackage",
        load=lazily("mypackage.losses:fused_ce"),
        family="cross_entropy",
        lacks=("soft_target", "spatial", "unbatched"),
        dtypes=("float32", "float64"),
        version="1.0",
    )
