"""A test run that has nothing to do with losses pays nothing for the plugin."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys

HEAVY = ("torch", "hypothesis", "nll_conformance", "rich", "numpy")
CODE = """
import sys, time
import pytest
begun = time.perf_counter()
import nll_conformance_pytest
print(time.perf_counter() - begun)
print([name for name in {heavy} if name in sys.modules])
"""
LOADED = ("-p", "nll_conformance_pytest")
UNRELATED = """
import sys

def test_nothing_heavy_is_loaded(request):
    assert request.config.pluginmanager.hasplugin("nll_conformance_watch")
    assert not [name for name in {heavy} if name in sys.modules]
"""


def test_importing_it_is_a_matter_of_milliseconds():
    seconds = []
    for _ in range(5):
        command = [sys.executable, "-c", CODE.format(heavy=HEAVY)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        first, loaded = done.stdout.splitlines()
        seconds.append(float(first))
        assert loaded == "[]"
    assert statistics.median(seconds) < 0.05, seconds


def test_an_unrelated_test_run_is_hardly_slower(tmp_path):
    (tmp_path / "test_a.py").write_text(UNRELATED.format(heavy=HEAVY))
    plain, loaded = [], []
    for _ in range(6):  # alternating, so that what else runs on the machine hits both
        plain.append(_cpu_seconds(tmp_path, "--collect-only"))
        loaded.append(_cpu_seconds(tmp_path, "--collect-only", *LOADED))
    added, ratio = min(loaded) - min(plain), min(loaded) / min(plain)
    sys.stdout.write(f"added {added * 1000:.1f} ms, ratio {ratio:.3f}\n")
    assert added < 0.05, (plain, loaded)
    assert ratio < 1.25, (plain, loaded)
    _cpu_seconds(tmp_path, *LOADED)


def _cpu_seconds(folder, *arguments):
    """Of a test run without the other plugins of this environment, slower by far."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(
        command,
        cwd=folder,
        env={**clean, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
