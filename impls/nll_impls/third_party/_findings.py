"""What is known of other packages' losses: one TOML file for each, in ``findings``.

    distribution = "timm"
    confirmed = "1.0.31"            # the version whose source was read by hand
    read = ["timm_label_smoothing"] # the losses whose quick report was read line by line

    [[finding]]
    kind = "fault"                  # or "documented", "pytorch", "interpreter"
    implementations = ["timm_label_smoothing"]
    rules = ["stability.classes_at_minus_infinity"]
    dtype = "float32"               # optional; all dtypes otherwise
    device = "cuda"                 # optional; all devices otherwise, its interpreter's "cpu"
    says = "what is wrong, in a sentence"
    why = "where in the package, and how that was confirmed"
    link = "https://..."
    reproducer = '''a program that ends with a failing assertion while the fault is there'''
    raises = "TypeError"            # optional; what it ends with instead of AssertionError

Each finding makes the rules that it names expected failures of these implementations.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from nll_conformance.model import Expected

FOLDER = Path(__file__).parent / "findings"
KINDS = {
    "fault": "Wrong",
    "documented": "Differs, as its documentation says",
    "pytorch": "As PyTorch's own",
    "interpreter": "Owed to Triton's interpreter",
}


@dataclass(frozen=True)
class Finding:
    """One cause, the rules that fail for it, and a program that shows it."""

    kind: str
    implementations: tuple[str, ...]
    rules: tuple[str, ...]
    says: str
    link: str
    why: str = ""
    dtype: str | None = None
    device: str | None = None
    reproducer: str = ""
    raises: str = "AssertionError"


@dataclass(frozen=True)
class Package:
    """All findings of one distribution, and the version they were confirmed with."""

    distribution: str
    confirmed: str
    read: tuple[str, ...]
    findings: tuple[Finding, ...]


@cache
def packages() -> tuple[Package, ...]:
    """Every file of the folder, by its name."""
    return tuple(_read(path) for path in sorted(FOLDER.glob("*.toml")))


def _read(path: Path) -> Package:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        findings = tuple(
            Finding(**{key: _frozen(value) for key, value in each.items()})
            for each in data.get("finding", ())
        )
        return Package(data["distribution"], data["confirmed"], tuple(data["read"]), findings)
    except (tomllib.TOMLDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path.name}: {type(error).__name__}: {error}") from error


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def findings_of(implementation: str) -> Iterator[Finding]:
    """The findings about an implementation, in the order of its package's file."""
    for package in packages():
        for finding in package.findings:
            if implementation in finding.implementations:
                yield finding


def expected_of(implementation: str) -> tuple[Expected, ...]:
    """The failures that are known, each with its reason and link."""
    return tuple(
        Expected(
            rule,
            dtype=finding.dtype,
            device="cpu" if finding.kind == "interpreter" else finding.device,
            reason=finding.says,
            link=finding.link,
        )
        for finding in findings_of(implementation)
        for rule in finding.rules
    )
