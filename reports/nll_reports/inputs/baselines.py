"""What other ways of testing catch: ``selftest --baselines --json``."""

from __future__ import annotations

from ..frames import Rows
from . import Source, name
from .selftest import digest, run

_COUNTS = ("caught", "mutants", "rejected", "variants")


def claims(source: Source) -> bool:
    """Whether this is a list of baselines."""
    document = source.document
    return (
        isinstance(document, list)
        and bool(document)
        and all(isinstance(item, dict) and {"name", *_COUNTS} <= set(item) for item in document)
    )


def read(source: Source) -> Rows:
    """A row for each way of testing."""
    run_id = digest(source.data)
    return {
        "runs": [run(source, run_id, "baselines")],
        "baselines": [
            {
                "run_id": run_id,
                "name": name(item["name"]),
                **{key: int(item[key]) for key in _COUNTS},
            }
            for item in source.document
        ],
    }
