"""The tables: what there is to know about losses, tidy, one fact a row.

Readers hand over rows (:data:`Rows`); :func:`tables` makes frames of them that have all the
columns of :data:`COLUMNS`, in that order, whatever a reader left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

import pandas as pd

#: One row of a table, by column.
Row: TypeAlias = dict[str, Any]
#: Rows by table.
Rows: TypeAlias = dict[str, list[Row]]

#: What identifies a measurement across results, benches, asv and pytest-benchmark.
JOIN_KEYS = ("implementation", "family", "dtype", "device", "shape", "pass")

_SUBJECT = {
    "run_id": "the run it comes from (table `runs`)",
    "implementation": "name of the implementation",
    "family": "loss family whose contract it is held to",
}
_WHERE = {"dtype": "dtype of the input", "device": "device, such as cpu"}

#: Table -> column -> meaning.  Absent values are None or NaN.
COLUMNS: dict[str, dict[str, str]] = {
    "runs": {
        "run_id": "unique id of the run",
        "kind": "results, bench, asv, pytest-benchmark, selftest or baselines",
        "source": "the file it was read from",
        "complete": "False where the run was cut short",
        "started_at": "ISO 8601 with offset; of asv: the date of the commit",
        "seconds": "wall time of the run, in seconds",
        "suite_version": "version of nll-conformance",
        "spec_version": "version of the published rules",
        "suite_commit": "commit of the suite, + behind it where the tree was changed",
        "subject_commit": "commit of what was checked, likewise",
        "machine": "name of the machine",
        "profile": "quick, standard or thorough",
        "mode": "deterministic or random",
        "seed": "seed of the cases",
        "rules": "globs that the run was confined to, separated by spaces",
        "torch": "version of torch",
        "processor": "processor, where recorded",
        "threads": "threads of torch",
        "recalled": "True where it was read from the history",
    },
    "implementations": {
        **_SUBJECT,
        "version": "version of the implementation, where known",
        "declaration": "registered, target or inferred",
        "target": "the target as it was named on the command line",
        "capabilities": "what it is held to, separated by spaces",
        "lacks": "capabilities that it declares absent, separated by spaces",
        "promises": "optional capabilities that must work, separated by spaces",
        "divergences": "declared or seen choices among legal values, key=value and spaces",
        "precision": "declared handling of 16-bit inputs",
        "verdict": "conforms, does not conform or not judged",
        "sentence": "the verdict, said with what was judged",
        "passed": "results that passed, unexpectedly or not",
        "failed": "results of must-rules that are fail, crash or timeout",
        "failed_should": "the same of should-rules",
        "known": "expected failures",
        "unjudged": "results that say nothing: error, unsupported, inconclusive, not_run",
    },
    "results": {
        **_SUBJECT,
        "rule": "id of the rule",
        "theme": "first half of the rule's id",
        "revision": "revision of the rule",
        "level": "must or should",
        **_WHERE,
        "outcome": "how it ended (README: outcomes)",
        "cases": "cases called",
        "judged": "cases compared with the oracle",
        "discriminating": "cases in which a wrong answer would have shown",
        "seconds": "time that it took, in seconds",
        "error_over_bound": "largest error of a case, as a multiple of its bound",
        "error_units": "largest error in condition units",
        "message": "what was found",
        "finding": "kind of the finding",
        "counterexample": "the smallest failing case, as JSON object",
        "reproducer": "a program that shows it",
        "reason": "why it was not judged, or why the failure is accepted",
        "link": "where an expected failure is discussed",
        "replay": "the command that judges it again",
        "cause": "within an implementation: equal for failures taken to have one cause",
    },
    "outcomes": {
        **_SUBJECT,
        **_WHERE,
        "outcome": "how they ended",
        "rules": "ids of the rules that ended so, separated by spaces",
    },
    "accuracy": {
        **_SUBJECT,
        **_WHERE,
        "error_units": "largest error on the accuracy set, in condition units",
        "letter": "A (at most 8 units), B (32), C (256) or D",
    },
    "bench": {
        **_SUBJECT,
        "version": "version of the implementation, where known",
        **_WHERE,
        "shape": "rows and classes, such as 2048x32000",
        "pass": "forward, backward (alone) or both",
        "rows": "all axes of the shape but the last",
        "classes": "the last axis: classes of the logits (the vocabulary size)",
        "outcome": "timed, wrong, unsupported, not_installed or error",
        "message": "why it was not timed",
        "rounds": "rounds measured",
        "interval": "confidence of the intervals, such as 95 %",
        "time_ms": "median time, in ms",
        "time_ms_low": "lower end of the interval of the median, in ms",
        "time_ms_high": "upper end of it, in ms",
        "copy_time_ms": "median time of a copy of the logits in the same run, in ms",
        "ratio_to_copy": "median of time / copy",
        "ratio_to_copy_low": "lower end of its interval",
        "ratio_to_copy_high": "upper end of its interval",
        "ratio_to_torch": "median of time / eager PyTorch",
        "ratio_to_torch_low": "lower end of its interval",
        "ratio_to_torch_high": "upper end of its interval",
        "added_bytes": "peak memory that the call adds, in bytes",
        "added_bytes_ratio": "the same as a multiple of the logits' bytes",
        "gb_per_s": "bytes of the logits moved per time, in GB/s",
        "error_over_bound": "error on the timed input, as a multiple of the bound",
        "error_units": "error on the timed input, in condition units",
        "limits": "what limits this measurement",
    },
    "trials": {
        "run_id": "the run it comes from",
        "caught": "mutants caught by a rule that they name",
        "mutants": "mutants tried",
        "false_alarms": "correct variants flagged by a must-rule",
        "variants": "correct variants tried",
        "matrix": "True where every rule ran on every mutant",
    },
    "mutants": {
        "run_id": "the run it comes from",
        "name": "name of the mutant or variant",
        "family": "its family",
        "kind": "mutant or variant",
        "status": "caught, caught elsewhere, survived, not asked; spared or flagged",
        "rule": "first rule that caught (or flagged) it",
        "dtype": "dtype in which it did",
        "cases": "cases of that rule until then",
        "seconds": "seconds of judging until then",
        "message": "what that rule found",
    },
    "kills": {
        "run_id": "the run it comes from",
        "name": "name of the mutant",
        "rule": "a rule that catches it",
        "alone": "True where no other rule but combinations does (of a matrix)",
    },
    "baselines": {
        "run_id": "the run it comes from",
        "name": "way of testing",
        "caught": "mutants that it catches",
        "mutants": "mutants tried",
        "rejected": "correct variants that it rejects",
        "variants": "correct variants tried",
    },
    "notices": {
        "source": "the file that it is about",
        "text": "a sentence for the reader",
    },
}


@dataclass(frozen=True)
class Frames:
    """All tables; :data:`COLUMNS` says what is in which column."""

    runs: pd.DataFrame
    implementations: pd.DataFrame
    results: pd.DataFrame
    outcomes: pd.DataFrame
    accuracy: pd.DataFrame
    bench: pd.DataFrame
    trials: pd.DataFrame
    mutants: pd.DataFrame
    kills: pd.DataFrame
    baselines: pd.DataFrame
    notices: pd.DataFrame

    @property
    def empty(self) -> bool:
        """Whether there is nothing to show."""
        return bool(self.runs.empty)


def tables(rows: Mapping[str, Iterable[Row]]) -> Frames:
    """The frames of these rows, with every documented column."""
    return Frames(
        **{table.name: _table(table.name, rows.get(table.name, ())) for table in fields(Frames)}
    )


def _table(name: str, rows: Iterable[Row]) -> pd.DataFrame:
    known = list(COLUMNS[name])
    columns = {column: [] for column in known}  # type: dict[str, list[Any]]
    for row in rows:
        for column in known:
            columns[column].append(row.get(column))
    return pd.DataFrame(
        {column: pd.Series(values, dtype=_dtype(values)) for column, values in columns.items()}
    )


def _dtype(values: list[Any]) -> str:
    """Numbers with gaps become floats with NaN; everything else stays what it is."""
    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return "bool" if None not in values else "object"
    if kinds and kinds <= {int, float}:
        return "int64" if kinds == {int} and None not in values else "float64"
    return "object"


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """The rows of a frame as dictionaries, in which absent values are None."""
    names = [str(column) for column in frame.columns]
    columns = [_values(frame[name]) for name in names]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _values(column: pd.Series[Any]) -> list[Any]:
    """The values of a column as Python has them."""
    values: list[Any] = column.tolist()
    if column.dtype == "float64":
        return [None if math.isnan(value) else value for value in values]
    return values
