"""Every kind of input becomes tidy tables; what cannot be read is said and the rest is shown."""

from __future__ import annotations

import json
import math

import invented
import pytest

from nll_conformance.errors import UsageError
from nll_reports import COLUMNS, JOIN_KEYS, load


def only(path):
    return load([path])


def test_every_table_has_its_documented_columns(frames):
    for table, columns in COLUMNS.items():
        assert list(getattr(frames, table).columns) == list(columns)
        assert all(meaning and not meaning.endswith(".") for meaning in columns.values())


def test_results_are_joined_with_their_run(given):
    frames = only(given / "inputs" / "results.jsonl")
    (run,) = frames.runs.itertuples()
    assert (run.kind, run.complete, run.machine, run.torch) == ("results", True, "rack", "2.13.0")
    assert len(frames.results) == 4 * 7 * 2
    counted = frames.results.groupby(["implementation", "outcome"]).size()
    assert counted["wrong", "fail"] == 2 and counted["wrong", "timeout"] == 2
    wrong = frames.implementations.set_index("implementation").loc["wrong"]
    assert wrong.verdict == "does not conform"
    assert (wrong.failed, wrong.known, wrong.unjudged) == (4, 2, 2)


def test_accuracy_is_the_error_of_its_rule_with_its_letter(frames):
    live = frames.accuracy[frames.accuracy.run_id == "0" * 32]
    letters = {(r.implementation, r.dtype): r.letter for r in live.itertuples()}
    assert letters["right", "bfloat16"] == "A" and letters["wrong", "bfloat16"] == "C"
    assert letters["wrong", "float32"] == "B"


def test_outcomes_hold_all_results_in_short(given):
    frames = only(given / "inputs" / "results.jsonl")
    assert sum(len(rules.split()) for rules in frames.outcomes.rules) == len(frames.results)


@pytest.mark.parametrize("file", ["bench.jsonl", "pytest_benchmark.json"])
def test_benches_have_the_join_keys(given, file):
    bench = only(given / "inputs" / file).bench
    assert not bench[list(JOIN_KEYS)].isna().any().any()
    right = bench[(bench.implementation == "right") & (bench["shape"] == "512x1000")].iloc[-1]
    assert (right.rows, right.classes) == ("512", 1000)
    assert right.time_ms_low < right.time_ms < right.time_ms_high


def test_asv_s_parameters_values_and_intervals_come_out(given):
    frames = only(given / "asv")
    assert len(frames.runs) == 6 and set(frames.runs.kind) == {"asv"}
    right = frames.bench[frames.bench.implementation == "right"]
    assert sorted(set(right.ratio_to_copy.round(3))) == [11.0, 16.5]
    assert right.time_ms.iloc[0] == 20.0 and right.time_ms_low.iloc[0] == 19.0
    assert sorted(set(right.ratio_to_copy_low.round(3))) == [10.8, 16.2]
    wrong = frames.bench[frames.bench.implementation == "wrong"]
    assert wrong.time_ms.isna().all(), "NaN is asv's word for skipped"
    assert "other.track_x" in frames.notices.text.iloc[0]


def test_asv_itself_writes_what_is_read(tmp_path):
    results = pytest.importorskip("asv.results", reason="asv is not installed here")
    date = 1_760_000_000_000
    stored = results.Results({"machine": "rack"}, {}, "c" * 40, date, "3.11", "env", {})
    from asv.runner import BenchmarkResult

    params = [["'right'"], ["'cross_entropy'"]]
    found = BenchmarkResult([4.5], [None], [None], 0, "", None)
    benchmark = {"name": "b.track_ratio_to_copy", "version": "1", "params": params}
    stored.add_result(benchmark, found)
    (tmp_path / "rack").mkdir()
    (tmp_path / "rack" / "machine.json").write_text("{}")
    keys = {"b.track_ratio_to_copy": {"param_names": ["implementation", "family"]}}
    (tmp_path / "benchmarks.json").write_text(json.dumps(keys))
    stored.save(tmp_path)
    (row,) = only(tmp_path).bench.itertuples()
    assert (row.implementation, row.ratio_to_copy) == ("right", 4.5)


def test_a_trial_tells_which_mutants_one_rule_alone_catches(given):
    frames = only(given / "inputs" / "selftest.json")
    (trial,) = frames.trials.itertuples()
    assert (trial.caught, trial.mutants, trial.false_alarms) == (2, 3, 1)
    alone = frames.kills[frames.kills.alone]
    assert list(zip(alone.rule, alone.name, strict=True)) == [
        ("ignore_index.default", "ignoring.counts")
    ]


# --- bad input -----------------------------------------------------------------------------


def test_nothing_to_read_is_an_error_that_names_the_kinds(tmp_path):
    for wrong in (tmp_path / "absent.jsonl", tmp_path):
        with pytest.raises(UsageError, match=r"cannot read|neither results"):
            load([wrong])
    with pytest.raises(UsageError, match="asv results folder"):
        load([])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("hello\n", "neither JSON nor JSON Lines"),
        ('{"kind": "header", "schema": 7, "implementations": []}\n', "schema 7"),
        ('{"some": "json"}', "unknown kind"),
        ('{"result_columns": [], "version": 2}', "give the folder"),
        ("[" * 100_000, "neither JSON"),
    ],
)
def test_a_bad_file_is_named_and_the_others_are_shown(tmp_path, given, text, said):
    bad = tmp_path / "bad.json"
    bad.write_text(text)
    with pytest.raises(UsageError, match=said):
        load([bad])
    frames = load([bad, given / "inputs" / "results.jsonl"])
    assert len(frames.results) and said in frames.notices.text.str.cat()


def test_a_run_cut_short_is_shown_with_a_notice(tmp_path):
    *lines, _ = invented.small_results()
    frames = only(invented.write(tmp_path / "cut.jsonl", *lines))
    assert not frames.runs.complete[0] and "cut short" in frames.notices.text[0]
    assert len(frames.results) == 56


def test_the_same_run_twice_counts_once(tmp_path, given):
    results = given / "inputs" / "results.jsonl"
    frames = load([results, results])
    assert len(frames.runs) == 1 and len(frames.results) == 56
    assert "counted once" in frames.notices.text.str.cat()


def test_other_spec_versions_and_machines_are_told(tmp_path):
    lines = list(invented.small_results())
    invented.write(tmp_path / "a.jsonl", *lines)
    lines[0] = {**lines[0], "run_id": "1" * 32, "spec_version": "2.0", "machine": "tower"}
    invented.write(tmp_path / "b.jsonl", *lines)
    told = load([tmp_path]).notices.text.str.cat(sep=" ")
    assert "1.0, 2.0" in told and "rack, tower" in told


def test_an_asv_folder_without_results_says_so(tmp_path):
    (tmp_path / "benchmarks.json").write_text("{}")
    with pytest.raises(UsageError, match="without results"):
        load([tmp_path])


def test_a_torn_file_of_asv_s_is_left_out_with_a_notice(tmp_path):
    folder = invented.asv(tmp_path / "asv")
    (folder / "rack" / "torn.json").write_text('{"version": 2, "commit')
    frames = only(folder)
    assert len(frames.runs) == 6 and "torn.json" in frames.notices.source.str.cat()


def test_foreign_text_is_bounded_and_without_control_characters(tmp_path):
    lines = [invented.header([{"name": "x" * 10_000 + "\x1b"}])]
    lines += [invented.result("y\u202e", "a.b", "fail", message="m" * 10**6, reproducer="\x00")]
    frames = only(invented.write(tmp_path / "r.jsonl", *lines))
    texts = frames.results.select_dtypes("object").to_numpy().ravel().tolist()
    texts += frames.implementations.implementation.tolist()
    for text in (t for t in texts if isinstance(t, str)):
        assert len(text) <= 4000 and not any(c in text for c in "\x00\x1b\u202e")


def test_numbers_that_json_lacks_are_numbers(tmp_path):
    lines = [invented.header([{"name": "a"}]), invented.result("a", "b.c", error_over_bound="inf")]
    frames = only(invented.write(tmp_path / "r.jsonl", *lines))
    assert math.isinf(frames.results.error_over_bound[0])
