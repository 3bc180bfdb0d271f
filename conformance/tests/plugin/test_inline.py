"""What the plugin makes of options and outcomes, in test runs within this process."""

from __future__ import annotations

import pytest

from nll_conformance import results

pytest_plugins = ["pytester"]

ALWAYS = ("--nll-no-isolation", "--nll-profile", "quick", "--nll-dtype", "float32")
ALWAYS += ("-p", "no:cacheprovider", "-p", "no:xdist", "--strict-markers", "-ra", "-W", "error")


def judge(project: pytest.Pytester, *arguments: str, loss: str = "right", rules: str = "mean"):
    chosen = [word for rule in rules.split(",") for word in ("--nll-rules", f"reductions.{rule}")]
    target = f"losses_under_test.py:{loss}"
    return project.runpytest_inprocess(*ALWAYS, "--nll-impl", target, *chosen, *arguments)


def test_without_targets_there_is_no_trace_of_the_plugin(project):
    project.makepyfile(test_a="def test_a(): pass")
    run = project.runpytest_inprocess("-p", "no:xdist")
    run.assert_outcomes(passed=1)
    assert "nll" not in run.stdout.str().replace("nll-conformance-", "")  # its distribution


def test_warnings_of_a_loss_and_filters_of_a_project_change_nothing(project):
    run = judge(project, loss="warns", rules="mean,sum")
    run.assert_outcomes(passed=2)
    assert run.ret == 0


def test_items_are_chosen_by_name_keyword_and_marker(project):
    project.makepyfile(test_a="def test_a(): pass")
    judge(project, "-m", "nll").assert_outcomes(passed=1, deselected=1)
    judge(project, "-k", "sum and must", rules="mean,sum").assert_outcomes(passed=1, deselected=2)
    judge(project, "nll", rules="mean,sum").assert_outcomes(passed=2)
    run = judge(project, "nll::reductions.sum-float32", rules="mean,sum")
    run.assert_outcomes(passed=1)
    assert "only rules reductions.sum" in run.stdout.str()  # and no wider claim


def test_an_unknown_item_is_a_usage_error_with_a_hint(project):
    run = judge(project, "nll::reductions.men-float32")
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert "Did you mean 'nll::reductions.mean-float32'?" in run.stderr.str()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--nll-profile", "quck"], "unknown profile 'quck'. Did you mean 'quick'?"),
        (["--nll-seed", "x"], "--nll-seed 'x' is not a number."),
        (["--nll-timeout", "0"], "--nll-timeout 0 is not a positive number."),
        (["--nll-declare", "precision"], "--nll-declare 'precision' is not KEY=VALUE."),
        (["--nll-lacks", "spatal"], "Did you mean 'spatial'?"),
        (["--nll-impl", "losses_under_test.py:rigt"], "Did you mean 'right'?"),
        (["--nll-impl", "losses_under_test.py:right"], "two targets are called"),
        (["--nll-rules", "reductions.men"], "unknown rule 'reductions.men'."),
        (["--nll-expected", "none.toml"], "cannot read expected failures from none.toml"),
        (["--nll-json", "none/results.jsonl"], "there is no folder none"),
        (["--nll-write-expected", "none/known.toml"], "there is no folder none"),
    ],
)
def test_a_wrong_option_is_a_usage_error_in_one_sentence(project, arguments, sentence):
    run = judge(project, *arguments)
    assert run.ret == pytest.ExitCode.USAGE_ERROR
    assert sentence in run.stderr.str()
    assert "Traceback" not in run.stdout.str() + run.stderr.str()
    assert "INTERNALERROR" not in run.stdout.str()


def test_a_failing_should_rule_is_an_xfail_and_red_only_where_strict(project):
    rules = "mean", "--nll-rules", "errors.reduction_name"
    project.makepyfile(
        lenient="""
        from losses_under_test import right
        def loss(input, target, reduction="mean"):
            return right(input, target, reduction if reduction in ("none", "sum") else "mean")
        """
    )
    options = (*ALWAYS, "--nll-impl", "lenient.py:loss", "--nll-rules", "reductions.mean")
    options = (*options, *rules[1:])
    run = project.runpytest_inprocess(*options)
    run.assert_outcomes(passed=1, xfailed=1)
    assert run.ret == 0
    run.stdout.fnmatch_lines(["XFAIL nll::errors.reduction_name-float32 - *should: *"])
    strict = project.runpytest_inprocess(*options, "--nll-strict")
    strict.assert_outcomes(passed=1, failed=1)
    strict.stdout.fnmatch_lines(["fail (should) errors.reduction_name  lenient.py:loss *"])


def test_known_failures_are_written_read_go_stale_and_expire(project):
    known = project.path / "known.toml"
    written = judge(project, "--nll-write-expected", str(known), loss="wrong", rules="mean,sum")
    written.assert_outcomes(passed=1, failed=1)
    assert "1 expected failures added to" in written.stdout.str()
    text = known.read_text().replace('link = ""', 'link = "https://example.org/1"')
    known.write_text(text)

    use = ("--nll-expected", str(known), "--nll-json", "results.jsonl")
    excused = judge(project, *use, loss="wrong", rules="mean,sum")
    excused.assert_outcomes(passed=1, xfailed=1)
    assert excused.ret == 0
    excused.stdout.fnmatch_lines(["XFAIL nll::reductions.sum-float32 - *https://example.org/1*"])
    assert results.read("results.jsonl").counts() == {"expected_failure": 1, "pass": 1}
    shown = judge(project, *use, "--runxfail", loss="wrong", rules="sum")
    shown.assert_outcomes(failed=1)

    known.write_text(text.replace("outcome", "expires = 2020-01-01\noutcome"))
    expired = judge(project, *use, loss="wrong", rules="sum")
    expired.assert_outcomes(failed=1)
    assert "the expected failure expired on 2020-01-01" in expired.stdout.str()

    # The same loss, mended.
    losses = project.path / "losses_under_test.py"
    losses.write_text(losses.read_text().replace("value * 2", "value"))
    known.write_text(text)
    stale = judge(project, *use, loss="wrong", rules="sum")
    stale.assert_outcomes(xpassed=1)
    assert stale.ret == 0
    assert "1 expected failure passed: remove what is no longer true." in stale.stdout.str()
    strict = judge(project, *use, "--nll-strict", loss="wrong", rules="sum")
    strict.assert_outcomes(failed=1)
    assert "stale expected failure: reductions.sum passes now" in strict.stdout.str()


def test_a_loss_of_which_nothing_was_judged_is_no_success(project):
    run = judge(project, rules="reduce")
    run.assert_outcomes(skipped=1)
    assert run.ret == pytest.ExitCode.TESTS_FAILED
    assert "not judged: cross_entropy" in run.stdout.str()


def test_options_have_ini_twins_and_their_paths_belong_to_the_ini_file(project, monkeypatch):
    project.makeini(
        """
        [pytest]
        nll_impl = losses_under_test.py:wrong
        nll_rules =
            reductions.sum
            reductions.mean
        nll_profile = quick
        nll_dtype = float32, float64
        nll_no_isolation = true
        nll_expected = known.toml
        """
    )
    project.path.joinpath("known.toml").write_text(
        '[[expected]]\nimplementation = "losses_under_test.py:wrong"\n'
        'rule = "reductions.sum"\nreason = "known"\n'
    )
    project.mkdir("tests").joinpath("test_a.py").write_text("def test_a(): pass")
    common = ("-p", "no:cacheprovider", "-p", "no:xdist", "-v")
    whole = project.runpytest_inprocess(*common)
    whole.assert_outcomes(passed=3, xfailed=2)
    whole.stdout.fnmatch_lines(["nll::reductions.sum-float64 XFAIL*"])
    # Somebody who asks for one file wants that file.
    project.runpytest_inprocess(*common, "tests").assert_outcomes(passed=1)
    monkeypatch.chdir(project.path / "tests")
    elsewhere = project.runpytest_inprocess(*common, "nll")
    elsewhere.assert_outcomes(passed=2, xfailed=2)
    elsewhere.stdout.fnmatch_lines(["*losses_under_test.py:wrong*"])
    assert str(project.path) not in elsewhere.stdout.str().partition("collected")[2]


def test_ids_are_the_same_under_pyargs(project, monkeypatch):
    package = project.mkpydir("theirs")
    package.joinpath("test_loss.py").write_text(
        "import nll_conformance\n"
        "from losses_under_test import right\n"
        "@nll_conformance.parametrize(right, rules='reductions.mean', dtype='float32')\n"
        "def test_loss(rule):\n"
        "    rule.check()\n"
    )
    monkeypatch.syspath_prepend(project.path)
    run = judge(project, "-v", "--pyargs", "theirs")
    run.assert_outcomes(passed=2)
    run.stdout.fnmatch_lines(["nll::reductions.mean-float32 PASSED*"])
    run.stdout.fnmatch_lines(["*test_loss.py::test_loss?reductions.mean-float32? PASSED*"])


def test_what_a_decorator_leaves_open_comes_from_the_command_line(project):
    project.makepyfile(
        test_loss="""
        import nll_conformance
        from losses_under_test import right, wrong

        @nll_conformance.parametrize(right, rules="reductions.sum")
        def test_right(rule):
            rule.check()

        @nll_conformance.parametrize(wrong, rules="reductions.sum", dtype="float64")
        def test_wrong(rule):
            rule.check()

        def test_without():
            pass
        """
    )
    options = ("-p", "no:cacheprovider", "-p", "no:xdist", "-v")
    run = project.runpytest_inprocess(*options, "--nll-dtype", "float32", "--nll-profile", "quick")
    run.assert_outcomes(passed=2, failed=1)
    run.stdout.fnmatch_lines(["*::test_right?reductions.sum-float32? PASSED*"])
    run.stdout.fnmatch_lines(["*::test_wrong?reductions.sum-float64? FAILED*"])
    run.stdout.fnmatch_lines(["FAIL reductions.sum  wrong  float64 cpu"])
    only = project.runpytest_inprocess(*options, "-m", "nll", "--co", "-q")
    assert "test_without" not in only.stdout.str()


def test_a_random_run_says_its_seed(project):
    run = judge(project, "--nll-random")
    run.assert_outcomes(passed=1)
    header = next(line for line in run.outlines if line.startswith("nll-conformance "))
    seed = header.rpartition("random seed ")[2]
    assert seed.isdigit() and seed != "0"
    assert f"profile quick, random seed {seed}" in run.stdout.str()
