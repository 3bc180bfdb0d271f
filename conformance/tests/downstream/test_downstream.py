"""A third party's repository adopts the suite: built wheel, fresh environment, its own tests.

The environment borrows torch and pytest from the one that runs these tests, through a .pth
file, because installing torch anew takes minutes; this project comes from its wheel alone.
"""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
TOP_LEVEL = {"nll_conformance", "nll_conformance_pytest.py", "nll_impls", "nll_reports"}
LINE = "rows.sum() / counted.sum()"
WRONG = "rows.sum() / len(rows)"


def run(*command: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHONPATH"))}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**clean, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def wheel_of(project: Path, folder: Path) -> Path:
    built = run(
        sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=project
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.iterdir()
    return wheel


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        names = {name.partition("/")[0] for name in archive.namelist()}
    return {name for name in names if not name.endswith(".dist-info")}


class Repository:
    """The sample, copied and installed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "sample"
        shutil.copytree(HERE / "sample", self.folder)
        self.wheel = wheel_of(ROOT, folder / "suite")
        venv.create(folder / "venv", symlinks=True)
        self.bin = folder / "venv" / "bin"
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        # Beside the environment's own packages, which come first; the .pth files in there,
        # an editable installation of this project among them, are not read.
        (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
        self.packages = packages
        pip = (sys.executable, "-m", "pip", "--python", self.bin / "python", "install")
        sample = wheel_of(self.folder, folder / "theirs")
        # The borrowed packages may hold this very version, which pip would leave there.
        here = ("--quiet", "--no-deps", "--no-index", "--ignore-installed")
        installed = run(*pip, *here, self.wheel, sample, cwd=folder)
        assert installed.returncode == 0, installed.stderr

    def call(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        # pytest is borrowed and so has no script in the environment.
        words = [str(self.bin / "python"), "-m", *command]
        if command[0] == "nll-conformance":
            words = [str(self.bin / command[0]), *command[1:]]
        return run(*words, cwd=self.folder, **environment)

    def commands(self) -> list[list[str]]:
        """What tox would run."""
        parser = configparser.ConfigParser()
        parser.read(self.folder / "tox.ini")
        (section,) = parser.sections()
        return [shlex.split(line) for line in parser[section]["commands"].strip().splitlines()]


@pytest.fixture(scope="module")
def repository(once) -> Repository:
    return once("downstream", Repository)


@pytest.fixture
def broken(repository: Repository, tmp_path: Path) -> dict[str, str]:
    """The environment of a program that finds the loss with one line of it changed."""
    shutil.copytree(repository.packages / "mypackage", tmp_path / "mypackage")
    path = tmp_path / "mypackage" / "losses.py"
    text = path.read_text()
    assert text.count(LINE) == 1
    path.write_text(text.replace(LINE, WRONG))
    return {"PYTHONPATH": str(tmp_path)}


def test_the_wheel_claims_these_top_level_names_only(repository):
    assert names_in(repository.wheel) == TOP_LEVEL


def test_the_fresh_environment_uses_the_wheel(repository):
    code = "import nll_conformance, nll_conformance_pytest as p; print(p.__file__)"
    found = repository.call("nll-conformance", "--version")
    assert found.returncode == 0, found.stderr
    where = run(repository.bin / "python", "-c", code, cwd=repository.folder).stdout
    assert where.startswith(str(repository.packages))


def test_the_lines_of_the_readme_are_those_of_the_sample():
    shown = re.findall(r"```ini\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert (HERE / "sample" / "tox.ini").read_text() in shown
    assert len(shown[0].splitlines()) == 6


def test_the_commands_of_its_tox_ini_conform(repository):
    # The last of two equal options counts: the same commands, on fewer cases.
    first, *_ = repository.commands()
    quick = ("--profile", "quick", "--rules", "reductions.mean", "--rules", "ignore_index.default")
    checked = repository.call(*first, *quick)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "conforms: cross_entropy" in checked.stdout
    assert "declaration: registered" in checked.stdout


CHOSEN = ("errors.reduction_name", "errors.target_shape", "ignore_index.default")
PYTEST = ("pytest", "-p", "no:cacheprovider", "--strict-markers", "-W", "error", "-rfx", "tests")


def chosen() -> list[str]:
    return [word for rule in CHOSEN for word in ("--nll-rules", rule)]


def test_its_own_pytest_test_passes_with_its_known_failures(repository):
    tested = repository.call(*PYTEST, *chosen())
    assert tested.returncode == 0, tested.stdout + tested.stderr
    assert "XFAIL tests/test_losses.py::test_fused_ce[errors.target_shape-float32]" in (
        tested.stdout
    )
    assert "a target of another shape is broadcast" in tested.stdout
    assert re.search(r"1 passed, 2 xfailed", tested.stdout)


def test_a_broken_loss_turns_its_pytest_test_red_for_that_reason(repository, broken):
    tested = repository.call(*PYTEST, *chosen(), "-k", "ignore_index", **broken)
    assert tested.returncode == 1, tested.stdout + tested.stderr
    assert "FAIL ignore_index.default  mypackage  float32 cpu" in tested.stdout
    assert "from mypackage.losses import fused_ce" in tested.stdout
    assert "Traceback" not in tested.stdout
    assert re.search(r"1 failed, 2 deselected", tested.stdout)


def test_a_broken_loss_turns_its_check_red_for_that_reason(repository, broken):
    checked = repository.call(
        "nll-conformance", "check", "mypackage", "--profile", "quick", "--dtype", "float32",
        "--rules", "ignore_index.default", "--rules", "reductions.sum", **broken,
    )  # fmt: skip
    assert checked.returncode == 1, checked.stdout + checked.stderr
    assert "FAIL ignore_index.default  mypackage  float32 cpu" in checked.stdout
    assert "does not conform" in checked.stdout
