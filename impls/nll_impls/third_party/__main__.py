"""Write the page of findings: ``python -m nll_impls.third_party > THIRD_PARTY.md``.

Every reproducer is run where its package is installed, and a GPU if it needs one; one that no
longer shows its fault is called stale, and the exit code is 1.  With ``--no-run`` the page says
nothing about that.
"""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from nll_conformance.discover import family
from nll_conformance.model import Implementation

from ..gpu import GPU
from . import implementations
from ._findings import KINDS, Finding, Package, packages
from ._package import FromPackages

HEAD = """\
# Third-party losses: findings

Made by `python -m nll_impls.third_party`.  Each program needs that package and torch alone and
ends with the exception named beside it while the fault is there.  Every entry was confirmed by
hand to be of the kind that its heading says; `nll-conformance check NAME` judges again.
"""
TIMEOUT_S = 120
DEVICES = {"cpu": "on a CPU", "cuda": "on a GPU"}
#: What torch.distributed puts in front of a traceback's lines.
RANK = re.compile(r"^\[rank\d+\]: ")
#: A torchvision built for another torch cannot be imported, whatever the program is about.
PRELUDE = (
    "from nll_impls.third_party._shims import torchvision_operators as _; _(); del _\n"
    if importlib.util.find_spec("torchvision")
    else ""
)


def main() -> int:
    """Print the page; 1 if some reproducer is stale."""
    run = "--no-run" not in sys.argv[1:]
    known = {package.distribution: package for package in packages()}
    stale = 0
    write(HEAD)
    for distribution, losses in _by_distribution().items():
        package = known.get(distribution, Package(distribution, "", (), ()))
        stale += _section(package, losses, run=run)
    return 1 if stale else 0


def write(text: str) -> None:
    """A paragraph of the page."""
    sys.stdout.write(f"{text}\n")


def _by_distribution() -> dict[str, list[Implementation]]:
    found: dict[str, list[Implementation]] = {}
    for loss in implementations():
        if isinstance(loss.load, FromPackages):
            found.setdefault(loss.load.distribution, []).append(loss)
    return dict(sorted(found.items()))


def _section(package: Package, losses: list[Implementation], *, run: bool) -> int:
    """One package; how many of its reproducers are stale."""
    installed = _installed(package.distribution, losses)
    write(f"## {package.distribution} {installed or package.confirmed}\n")
    if installed is None:
        write("Not installed here: nothing was run again.\n")
    elif package.confirmed and installed != package.confirmed:
        write(f"Confirmed by hand with {package.confirmed}.\n")
    for loss in losses:
        write(_declared(loss, read=loss.name in package.read))
    stale = 0
    for kind, heading in KINDS.items():
        entries = [finding for finding in package.findings if finding.kind == kind]
        if entries:
            write(f"\n### {heading}\n")
        for entry in entries:
            here = installed and (GPU or entry.device != "cuda")
            state = _state(entry) if run and here and entry.reproducer else ""
            stale += state == "stale"
            write("\n".join(_entry(entry, state)))
    write("")
    return stale


def _installed(distribution: str, losses: list[Implementation]) -> str | None:
    if all(isinstance(loss.load, FromPackages) and loss.load.missing() for loss in losses):
        return None
    try:
        return version(distribution)
    except PackageNotFoundError:
        return losses[0].version


def _declared(loss: Implementation, *, read: bool) -> str:
    """What holds of it, and in what it differs by declaration."""
    known = {entry.rule for entry in loss.expected}
    words = [f"- [`{loss.name}`]({loss.url}), family `{loss.family}`"]
    if loss.lacks:
        words.append(f"lacks {', '.join(loss.lacks)}")
    first = {key: values[0] for key, values in family(loss.family).divergences.items()}
    differs = [f"{key} {word}" for key, word in loss.divergences.items() if word != first[key]]
    if differs:
        words.append(f"unlike PyTorch {', '.join(differs)}")
    words.append(f"judged as `{loss.precision or 'rounded_rows'}` in {', '.join(loss.dtypes)}")
    rest = "all rules hold" if not known else f"all rules hold but the {len(known)} named here"
    if not read:
        rest = "its report was not read in full yet: what is not named here may still be wrong"
    return "; ".join([*words, rest]) + "."


def _entry(finding: Finding, state: str) -> Iterator[str]:
    where = ", ".join(f"`{name}`" for name in finding.implementations)
    kind = [word for word in (finding.dtype, DEVICES.get(finding.device or "")) if word]
    only = f" ({', '.join(kind)})" if kind else ""
    yield f"**{finding.says}** {where}{only}. [Reference]({finding.link})."
    yield f"Rules: {', '.join(f'`{rule}`' for rule in finding.rules)}."
    if finding.why:
        yield finding.why
    if finding.reproducer:
        verdict = f"; when this page was made: {state}" if state else ""
        yield f"\nEnds with {finding.raises}{verdict}:\n"
        yield f"```python\n{finding.reproducer.strip()}\n```"
    yield ""


def _state(finding: Finding) -> str:
    """Whether the program still ends with the exception that shows the fault."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + finding.reproducer],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {TIMEOUT_S} s"
    if done.returncode == 0:
        return "stale"
    lines = [RANK.sub("", line) for line in done.stderr.strip().splitlines()]
    kinds = [line.partition(":")[0] for line in lines]
    if any(kind.rpartition(".")[2] == finding.raises for kind in kinds):
        return "shown"
    last = lines[-1:] or ["nothing"]
    return f"ended otherwise: {last[0][:120]}"


if __name__ == "__main__":
    sys.exit(main())
