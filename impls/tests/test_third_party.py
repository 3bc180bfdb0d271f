"""Third-party losses: declared without importing them, and callable where installed."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

import nll_conformance
from nll_conformance import discover, session
from nll_conformance.errors import UsageError
from nll_conformance.model import Implementation
from nll_conformance.options import Options
from nll_impls.third_party import __main__ as page
from nll_impls.third_party import _findings, implementations
from nll_impls.third_party._findings import FOLDER, KINDS, Finding, packages
from nll_impls.third_party._package import FromPackages, from_package

ALL = {i.name: i for i in implementations() if isinstance(i.load, FromPackages)}


def absent_loss() -> None:
    raise AssertionError("must not be asked")


ABSENT = from_package(
    "absent", absent_loss, distribution="nll-absent", requires=("torch", "nll_absent_package")
)


def test_declaring_imports_no_package() -> None:
    code = (
        "import sys, nll_impls.third_party as t; t.implementations(); "
        "print(sorted({'torch', 'triton', "
        "'numpy', 'keras', 'jax', 'transformers', 'onnx', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_there_are_many() -> None:
    assert len(ALL) >= 25


def test_what_is_absent_is_told_without_importing() -> None:
    assert isinstance(ABSENT.load, FromPackages)
    assert ABSENT.load.missing() == "nll_absent_package"
    assert ABSENT.version is None
    with pytest.raises(ImportError, match="nll_absent_package"):
        ABSENT.load()


def test_globs_leave_out_what_is_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"absent": ABSENT, "absent_too": replace(ABSENT, name="absent_too"), **ALL}
    monkeypatch.setattr(session, "registered", lambda: known)
    some = session.Session(["torch_linear_ch*", "absent", "absent_*"], Options())
    with pytest.raises(UsageError, match="nothing that 'absent_\\*' matches is installed"):
        some._expanded()
    some = session.Session(["torch_linear_ch*", "absent"], Options())
    assert some._expanded() == ["torch_linear_chunked", "absent"]
    some = session.Session(["*"], Options())
    assert "absent" not in some._expanded() and "absent" in some.left_out


def test_each_file_of_findings_is_about_something_registered() -> None:
    distributions = {i.load.distribution for i in ALL.values() if isinstance(i.load, FromPackages)}
    for package in packages():
        assert package.distribution in distributions
        for finding in package.findings:
            assert set(finding.implementations) <= set(ALL), finding.says
            assert finding.kind in KINDS
            assert finding.says.endswith(".") and finding.link.startswith("https://")
            assert finding.rules or finding.reproducer


def test_findings_name_rules_of_their_family() -> None:
    for package in packages():
        for finding in package.findings:
            for name in finding.implementations:
                rules = discover.rules_of(ALL[name].family)
                assert set(finding.rules) <= set(rules), finding.says


def test_findings_are_expected_failures() -> None:
    for path in FOLDER.glob("*.toml"):
        for finding in tomllib.loads(path.read_text(encoding="utf-8")).get("finding", ()):
            for name in finding["implementations"]:
                expected = {entry.rule for entry in ALL[name].expected}
                assert set(finding["rules"]) <= expected


def test_reproducers_compile() -> None:
    for package in packages():
        for finding in package.findings:
            compile(finding.reproducer, package.distribution, "exec")


@pytest.mark.parametrize(
    ("program", "state"),
    [
        ("assert 1 + 1 == 3", "shown"),
        ("assert 1 + 1 == 2", "stale"),
        ("import nll_absent_package", "ended otherwise: ModuleNotFoundError"),
    ],
)
def test_a_reproducer_that_shows_nothing_is_stale(program: str, state: str) -> None:
    finding = Finding("fault", ("x",), (), "It is wrong.", "https://x", reproducer=program)
    assert page._state(finding).startswith(state)


@pytest.mark.parametrize("loss", ALL.values(), ids=ALL.keys())
def test_is_called_where_it_is_installed(loss: Implementation) -> None:
    assert isinstance(loss.load, FromPackages)
    if (name := loss.load.missing()) is not None:
        pytest.skip(f"{name} is not installed")
    report = nll_conformance.check(
        loss.name, profile="quick", rules=("call.simplest",), dtype=loss.dtypes[:1], timeout=120
    )
    assert [result.outcome for result in report.results] == ["pass"]


@pytest.mark.parametrize("text", ["[[finding]\n", 'distribution = "x"\n'])
def test_unreadable_findings_are_named(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mypackage.toml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(_findings, "FOLDER", tmp_path)
    packages.cache_clear()
    try:
        with pytest.raises(ValueError, match=r"mypackage\.toml"):
            packages()
    finally:
        packages.cache_clear()
