"""Where and when: what the header says of the machine, the commits and the time."""

from __future__ import annotations

import datetime as dt
import subprocess
from pathlib import Path


def database() -> str:
    """Where Hypothesis keeps the failures of ``--random`` runs."""
    import platformdirs

    return str(Path(platformdirs.user_cache_dir("nll-conformance")) / "examples")


def now() -> str:
    """The time, UTC, ISO 8601."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def commit(folder: Path) -> str | None:
    """The commit that a folder is checked out at, "+" behind it where it is changed."""
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--dirty=+"]
        head = subprocess.run(  # whichever git the user has
            command,
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return head.stdout.strip() or None if head.returncode == 0 else None
