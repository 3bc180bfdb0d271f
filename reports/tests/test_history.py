"""The history: one file for each run, nothing lost, nothing doubled; what changed is found."""

from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor

import invented
import pytest

from nll_reports import load
from nll_reports.analysis import analyse
from nll_reports.history import record
from nll_reports.regressions import FACTOR, Point, shifts
from nll_reports.subjects import same_subject


def run(path, run_id, *, day=1, outcomes=(), **header):
    """A results file with one loss whose rules end as they are told to."""
    started = f"2026-02-{day:02d}T00:00:00+00:00"
    lines = [invented.header([{"name": "loss"}], run_id=run_id, started_at=started, **header)]
    lines += [invented.result("loss", rule, outcome) for rule, outcome in outcomes]
    return invented.write(path, *lines, invented.footer())


def test_a_run_is_kept_once_and_recalled_without_its_texts(tmp_path, given):
    frames = load([given / "inputs"])
    written = record(frames, tmp_path / "h")
    assert len(written) == len(frames.runs) and record(frames, tmp_path / "h") == []
    again = load([], past=tmp_path / "h")
    assert set(again.runs.run_id) == set(frames.runs.run_id) and again.runs.recalled.all()
    assert len(again.outcomes) == len(frames.outcomes) and len(again.results) == 0
    assert len(again.bench) == len(frames.bench)
    kept = b"".join(gzip.decompress(file.read_bytes()) for file in written)
    assert b"assert loss" not in kept


def test_two_that_record_at_once_lose_nothing(tmp_path):
    several = [
        load([run(tmp_path / f"{n}.jsonl", f"{n:032d}", outcomes=[("a.b", "pass")])])
        for n in range(6)
    ]
    with ThreadPoolExecutor(12) as pool:
        found = list(pool.map(lambda frames: record(frames, tmp_path / "h"), several * 4))
    assert sum(map(len, found)) == 6
    assert len(load([], past=tmp_path / "h").runs) == 6
    assert not [f for f in (tmp_path / "h").iterdir() if f.name.startswith(".")]


def test_a_run_cut_short_is_told_until_it_has_been_completed(tmp_path):
    cut = run(tmp_path / "r.jsonl", "d" * 32, outcomes=[("a.b", "pass"), ("a.c", "pass")])
    whole = cut.read_bytes().splitlines(keepends=True)
    cut.write_bytes(b"".join(whole[:2]))
    record(load([cut]), tmp_path / "h")
    assert not load([], past=tmp_path / "h").runs.complete[0]
    cut.write_bytes(b"".join(whole))
    record(load([cut]), tmp_path / "h")
    (found,) = load([], past=tmp_path / "h").runs.itertuples()
    assert found.complete and len(list((tmp_path / "h").iterdir())) == 2


def test_what_is_no_history_is_told(tmp_path, given):
    (tmp_path / "torn.json.gz").write_bytes(b"\x1f\x8b torn")
    (tmp_path / "other.json.gz").write_bytes(gzip.compress(b'{"kind": "else", "schema": 1}'))
    frames = load([given / "inputs" / "results.jsonl"], past=tmp_path)
    assert frames.notices.text.str.contains("no readable file").sum() == 2


def test_a_hostile_run_id_names_no_file_outside(tmp_path):
    frames = load([run(tmp_path / "r.jsonl", "../../x", outcomes=[("a.b", "pass")])])
    (file,) = record(frames, tmp_path / "h")
    assert file.parent == tmp_path / "h"


def test_verdicts_lost_and_gained_between_the_runs_that_have_the_rule(tmp_path):
    first = [("a.b", "pass"), ("a.c", "fail"), ("a.d", "pass")]
    second = [("a.b", "fail"), ("a.c", "pass")]
    run(tmp_path / "1.jsonl", "1" * 32, day=1, outcomes=first)
    run(tmp_path / "2.jsonl", "2" * 32, day=2, outcomes=second)
    run(tmp_path / "3.jsonl", "3" * 32, day=3, outcomes=[*second, ("a.e", "fail")])
    found = analyse(load([tmp_path])).changes
    assert [(c.rule, c.direction, c.after_run[0]) for c in found] == [
        ("a.b", "lost", "2"),
        ("a.c", "gained", "2"),
    ]


def test_the_newest_version_is_shown_and_the_older_one_is_history(tmp_path):
    run(tmp_path / "1.jsonl", "1" * 32, day=1, outcomes=[("a.b", "fail")], subject_commit="b" * 40)
    run(tmp_path / "2.jsonl", "2" * 32, day=2, outcomes=[("a.b", "pass")])
    run(tmp_path / "3.jsonl", "3" * 32, day=3, outcomes=[("a.c", "pass")])
    found = analyse(load([tmp_path]))
    assert sorted((r["rule"], r["outcome"]) for r in found.results) == [
        ("a.b", "pass"),
        ("a.c", "pass"),
    ]
    assert "only under History" in found.notices[-1]["text"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"version": "1"}, {"version": "1"}, True),
        ({"version": "1"}, {"version": "2"}, False),
        ({"subject_commit": "a"}, {"subject_commit": "a"}, True),
        ({"subject_commit": "a+"}, {"subject_commit": "a+"}, False),
        ({"subject_commit": "a"}, {"subject_commit": None}, False),
        ({"version": "1", "torch": "2"}, {"version": "1", "torch": "3"}, False),
        ({"run_id": "r", "subject_commit": "a+"}, {"run_id": "r", "subject_commit": "a+"}, True),
    ],
)
def test_same_version_or_same_clean_commit(one, other, same):
    assert same_subject({"run_id": 1, **one}, {"run_id": 2, **other}) is same


# --- regressions ---------------------------------------------------------------------------


def steps(*points):
    """The shifts of a series given as (low, high) pairs."""
    made = [Point(str(n), (low + high) / 2, low, high) for n, (low, high) in enumerate(points)]
    return shifts([(("loss",) * 8, "ratio_to_copy", made)])


def test_a_step_whose_intervals_are_apart_and_that_lasts_is_told_with_its_range():
    (shift,) = steps((1.0, 1.1), (1.0, 1.1), (1.5, 1.6), (1.5, 1.6))
    assert (shift.last_run, shift.after.run_id, shift.confirmed) == ("1", "2", True)
    assert shift.worse and shift.interval == pytest.approx((1.5 / 1.1, 1.6))


def test_noise_is_not_told():
    assert not steps((1.0, 1.1), (1.05, 1.2), (1.1, 1.3)), "overlapping intervals"
    assert not steps((1.0, 1.1), (1.5, 1.6), (1.0, 1.1)), "one run that nothing confirms"
    assert not steps((1.0, 1.0), (FACTOR * 0.999,) * 2), "less than is worth telling"


def test_small_steps_add_up():
    (shift,) = steps(*((1 + n / 50,) * 2 for n in range(5)))
    assert (shift.before.run_id, shift.last_run, shift.after.run_id) == ("0", "2", "3")


def test_the_newest_run_is_told_as_not_yet_confirmed():
    (shift,) = steps((1.0, 1.1), (0.5, 0.6))
    assert not shift.confirmed and not shift.worse


def test_other_machines_are_never_compared(tmp_path):
    for number, machine in enumerate(("rack", "tower")):
        header = invented.bench_header(
            run_id=f"{number:032d}", machine=machine, started_at=f"2026-01-0{number + 1}"
        )
        line = invented.bench_line("loss", "8x10", "both", 1.0 + number)
        invented.write(tmp_path / f"{machine}.jsonl", header, line, {"kind": "footer"})
    assert analyse(load([tmp_path])).shifts == []


def test_the_shift_of_asv_s_series_is_found(frames):
    found = {(s.series[0], s.metric) for s in analyse(frames).shifts if s.worse}
    assert ("right", "ratio_to_copy") in found and ("wrong", "ratio_to_copy") not in found


def test_a_history_file_says_what_it_is(tmp_path):
    frames = load([run(tmp_path / "r.jsonl", "a" * 32, outcomes=[("a.b", "pass")])])
    (file,) = record(frames, tmp_path / "h")
    packed = json.loads(gzip.decompress(file.read_bytes()))
    assert (packed["kind"], packed["schema"], packed["run_id"]) == ("history", 1, "a" * 32)
