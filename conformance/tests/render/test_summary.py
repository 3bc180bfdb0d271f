"""The summary tells a stranger what is wrong, who says so, and what to do next."""

from __future__ import annotations

import io
import time

from invented_reports import FACTS, FAILING, HOSTILE, PROGRAM, report, result

from nll_conformance.causes import causes, lacking, not_judged
from nll_conformance.model import OUTCOMES
from nll_conformance.render import terminal
from nll_conformance.render.summary import summary
from nll_conformance.report import Report, RuleFacts


def lines(found: Report, path: str | None = "r.jsonl") -> list[str]:
    return [text for _, text in summary(found, FACTS, path=path)]


def text(found: Report, path: str | None = "r.jsonl") -> str:
    return "\n".join(lines(found, path))


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_failures_of_one_cause_are_folded_and_must_comes_before_should() -> None:
    found = causes(FAILING)
    assert [cause.first.level for cause in found] == ["must"] * 4 + ["should"]
    assert found[0].dtypes == ("float32", "bfloat16")
    assert len(found[0].rules) == 15
    assert found[1].rules == ("shapes.spatial", "shapes.unbatched")


def wrong(rule: str, message: str = "loss is wrong") -> object:
    return result(rule, "fail", finding="value", message=message)


def test_where_plain_cases_pass_each_theme_has_a_cause_of_its_own() -> None:
    found = causes([wrong("weight.a"), wrong("weight.b"), wrong("mask.a"), wrong("mask.b")])
    assert [cause.rules for cause in found] == [("weight.a", "weight.b"), ("mask.a", "mask.b")]


def test_what_plain_cases_show_explains_the_same_elsewhere_and_nothing_else() -> None:
    bad = [wrong("values.a"), wrong("weight.a"), wrong("mask.a", "gradient of input is wrong")]
    assert [cause.rules for cause in causes(bad)] == [("values.a", "weight.a"), ("mask.a",)]


def test_calls_that_raised_fold_by_what_was_raised() -> None:
    said = [
        "forward raised ValueError: 3 dims",
        "forward raised ValueError: 4 dims",
        "TypeError",
    ]
    bad = [result(f"a.r{i}", "fail", finding="raised", message=m) for i, m in enumerate(said)]
    assert [cause.rules for cause in causes(bad)] == [("a.r0", "a.r1"), ("a.r2",)]


def test_two_deaths_without_a_signature_are_two_causes() -> None:
    assert len(causes([result("a.a", "crash"), result("b.b", "crash")])) == 2


def test_a_cause_has_its_five_parts_in_order() -> None:
    shown = text(report(*FAILING))
    parts = [
        "FAIL gradients.plain  fused_ce  float32, bfloat16 cpu",
        "expected  The gradient is the exact one, within the bound.",
        "[torch.nn.CrossEntropyLoss]",
        "came      gradient of input[0, 1] is 0.25, expected 0: off by 0.25 (1.23e+03",
        "import torch",
        "replay    nll-conformance replay r.jsonl gradients.plain",
        "14 more rules fail for the same reason",
    ]
    places = [shown.index(part) for part in parts]
    assert places == sorted(places)


def test_the_case_can_be_pasted() -> None:
    shown = lines(report(*FAILING))
    start = shown.index("  case") + 1
    pasted = [line[6:] for line in shown[start : start + 3]]
    assert pasted == [line for line in PROGRAM.splitlines() if line]


def test_three_causes_in_full_and_the_rest_counted() -> None:
    shown = lines(report(*FAILING))
    assert sum(line.startswith("  replay") for line in shown) == 3
    assert "2 more causes, failing reuse.third, values.late" in shown


def test_what_was_not_judged_is_one_line_a_reason() -> None:
    groups = not_judged(FAILING)
    assert [(g.outcome, len(g.rules)) for g in groups] == [
        ("inconclusive", 1),
        ("unsupported", 2),
    ]
    shown = lines(report(*FAILING))
    assert any("unsupported 2 rules: lacks soft_target (soft_" in line for line in shown)


def test_it_ends_with_the_sentence_the_line_to_paste_and_the_next_command() -> None:
    assert lines(report(*FAILING))[-3:] == [
        "does not conform: cross_entropy [weight], float32, bfloat16, cpu, spec 1.0, quick",
        "if fused_ce is not meant for that: --lacks spatial,unbatched",
        "next: nll-conformance replay r.jsonl gradients.plain",
    ]


def test_only_what_raised_and_works_nowhere_is_proposed_as_lacking() -> None:
    wrong = result("shapes.unbatched", "fail", dtype="float64", finding="value")
    assert lacking(report(*FAILING, wrong), "fused_ce", FACTS) == ("spatial",)
    assert lacking(report(result("weight.scales")), "fused_ce", FACTS) == ()


def test_a_rule_that_refusals_pass_does_not_show_what_works() -> None:
    refused = {"errors.rank": RuleFacts("Nonsense raises.", "docs", ("unbatched",), True)}
    found = report(*FAILING, result("errors.rank"))
    assert lacking(found, "fused_ce", {**FACTS, **refused}) == ("spatial", "unbatched")
    softly = result("shapes.unbatched", "fail", finding="raised", level="should", dtype="float64")
    assert lacking(report(*FAILING, softly), "fused_ce", FACTS) == ("spatial", "unbatched")


def test_without_a_file_the_replay_is_the_check_narrowed_down() -> None:
    shown = text(report(*FAILING), path=None)
    assert (
        "nll-conformance check mykernel.py:fused_ce --family cross_entropy "
        "--rules gradients.plain --dtype float32 --device cpu --profile quick "
        "--seed 7" in shown
    )
    assert "--json FILE" in shown


def test_a_clean_run_is_short() -> None:
    shown = lines(report(result("values.exact")))
    assert shown == [
        "fused_ce: cross_entropy (assumed), declaration: inferred",
        "float32, cpu, profile quick, seed 7",
        "",
        "conforms: cross_entropy [weight], float32, cpu, spec 1.0, quick",
    ]


def test_a_run_cut_short_says_so() -> None:
    shown = text(report(result("values.exact"), complete=False))
    assert "cut short: 1 result before the run ended" in shown
    assert "\nconforms" not in shown


def test_several_implementations_start_with_a_matrix() -> None:
    found = report(
        *FAILING,
        result("values.exact", implementation="torch"),
        result("mask.r1", "expected_failure", implementation="torch"),
    )
    shown = lines(found)
    assert "  1 fused_ce  does not conform, 2 pass, 20 fail, 1 fail (should)" in shown
    assert "  2 torch     conforms, 1 pass, 1 known" in shown
    cells = {line.split()[0]: line.split()[1:] for line in shown if line and " " in line}
    assert cells["values"] == ["!1/2", "+1"]
    assert cells["mask"] == ["!14/14", "x1/1"]
    assert cells["soft_target"] == ["-", "-"]
    assert cells["determinism"] == ["?1", "-"]
    assert any(line.startswith("torch conforms: ") for line in shown)


def test_twenty_implementations_fit_eighty_columns() -> None:
    many = [
        result(f"theme_{i}.rule", implementation=f"package.module.implementation_{n}")
        for n in range(20)
        for i in range(20)
    ]
    table = [line for line in lines(report(*many)) if ": cross_entropy" not in line]
    assert max(map(len, table)) <= 80


def test_prose_fits_eighty_columns() -> None:
    long = [result("a.b", "fail", message="word " * 60, finding="x")]
    long += [result(f"u.r{i}", "unsupported", reason=f"because {i} " * 20) for i in range(9)]
    shown = lines(report(*long))
    assert max(map(len, shown)) <= 80
    assert "  and 3 more reasons" in shown


def test_hostile_text_cannot_write_lines_or_control_the_terminal() -> None:
    found = report(
        *(
            result(
                f"a.{outcome}",
                outcome,
                implementation=HOSTILE,
                message=HOSTILE,
                reason=HOSTILE,
                finding=HOSTILE,
                reproducer=HOSTILE,
            )
            for outcome in OUTCOMES
        ),
        profile=HOSTILE,
        seed="\x1b[2J",
    )
    for line in lines(found, path=HOSTILE):
        assert line.isprintable()
        assert not line.startswith('{"kind"')
    megabytes = result("a.b", "fail", message="x" * 5_000_000, reproducer="y\n" * 5_000_000)
    started = time.monotonic()
    assert len(text(report(megabytes))) < 100_000
    assert time.monotonic() - started < 1


def test_in_a_pipe_there_are_no_colours_and_on_a_terminal_there_are(monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    pipe, screen, plain = io.StringIO(), Terminal(), Terminal()
    found = report(*FAILING)
    terminal.show(found, FACTS, path="r.jsonl", stream=pipe)
    terminal.show(found, FACTS, path="r.jsonl", stream=screen)
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.show(found, FACTS, path="r.jsonl", stream=plain)
    assert pipe.getvalue() == text(found) + "\n"
    assert "\x1b[1;31mFAIL" in screen.getvalue()
    assert "31m" not in plain.getvalue()


def test_markup_of_our_own_printer_is_not_obeyed() -> None:
    stream = io.StringIO()
    found = report(result("a.b", "fail", message="[red]x[/red] [/] :smile:"))
    terminal.show(found, FACTS, stream=stream)
    assert "[red]x[/red] [/] :smile:" in stream.getvalue()


def test_a_terminal_that_lacks_characters_gets_escapes() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii", write_through=True)
    terminal.show(report(result("a.b", "fail", message="größer √2")), FACTS, stream=stream)
    assert b"gr\\xf6\\xdfer \\u221a2" in raw.getvalue()


def run(progress: terminal.Progress) -> None:
    with progress:
        for i in range(3):
            progress.started("fused_ce", f"a.r{i}", "float32", i, 3)
            progress.finished(result(f"a.r{i}", "fail"))


def test_progress_is_silent_in_pipes_and_short_runs(monkeypatch) -> None:
    pipe, screen = io.StringIO(), Terminal()
    run(terminal.Progress(screen))
    monkeypatch.setattr(terminal, "PATIENCE_SECONDS", 0)
    run(terminal.Progress(pipe))
    assert (pipe.getvalue(), screen.getvalue()) == ("", "")


def test_progress_shows_rule_count_and_failures_on_a_terminal(monkeypatch) -> None:
    monkeypatch.setattr(terminal, "PATIENCE_SECONDS", 0)
    monkeypatch.setenv("TERM", "xterm-256color")
    screen = Terminal()
    run(terminal.Progress(screen))
    shown = screen.getvalue()
    assert "fused_ce a.r2 float32, 2 failing" in shown
    assert "2/3" in shown
