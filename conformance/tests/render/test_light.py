"""The supervisor and the pytest plugin render without torch, hypothesis or rich loaded."""

from __future__ import annotations

import subprocess
import sys

MODULES = (
    "report",
    "results",
    "expected",
    "causes",
    "reproducer",
    "render.badge",
    "render.junit",
    "render.markdown",
    "render.summary",
    "render.terminal",
)


def test_nothing_heavy_is_imported() -> None:
    script = "\n".join(
        [
            "import sys",
            *(f"import nll_conformance.{name}" for name in MODULES),
            "print(sorted({'torch', 'hypothesis', 'rich', 'pytest'} & set(sys.modules)))",
        ]
    )
    command = [sys.executable, "-c", script]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (shown.stdout, shown.stderr) == ("[]\n", "")
