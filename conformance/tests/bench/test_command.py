"""``nll-conformance bench`` as a stranger uses it."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib import resources
from pathlib import Path

import jsonschema
import pytest

from nll_conformance.bench.session import Bench, Options
from nll_conformance.cli import main
from nll_conformance.engine import Engine
from nll_conformance.errors import UsageError

LOSSES = Path(__file__).parent / "losses_to_time.py"
COMMAND = [sys.executable, "-m", "nll_conformance", "bench"]


class Silence:
    def doing(self, what, done, total):
        pass


def bench(*arguments):
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, check=False)


def within(capsys, monkeypatch, *arguments):
    """The same within this process, which has torch already."""
    monkeypatch.setattr(sys, "argv", ["nll-conformance", "bench", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    out, err = capsys.readouterr()
    return ended.value.code, out, err


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def validator():
    text = (resources.files("nll_conformance") / "schemas/bench.schema.json").read_text()
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "b.jsonl"
    names = (
        "wrong_gradient",
        "wrong_last_row",
        "remembers_by_address",
        "over_the_logits",
        "raises_when_large",
        "smooth_detour",
    )
    done = bench(
        *(f"{LOSSES}:{name}" for name in names),
        *("--shape", "1024x1000", "--rounds", "7", "--json", str(path)),
    )
    return done, lines_of(path)


def by_name(lines):
    return {line["implementation"].rpartition(":")[2]: line for line in lines[1:-1]}


def test_lines_are_valid_under_the_published_schema(run):
    _, lines = run
    for line in lines:
        validator().validate(line)
    assert [lines[0]["kind"], lines[-1]["kind"]] == ["header", "footer"]
    assert sum(lines[-1]["counts"].values()) == len(lines) - 2
    assert not validator().is_valid({**lines[1], "surprise": 1})


def test_who_is_wrong_is_not_timed(run):
    done, lines = run
    found = by_name(lines)
    for name in ("wrong_gradient", "wrong_last_row"):
        assert found[name]["outcome"] == "wrong"
        assert found[name]["time_ms"] is None
        assert "gradient of input" in found[name]["message"]
    assert "wrong_gradient: wrong: gradient of input" in done.stdout
    assert done.returncode == 1


def test_an_answer_kept_from_an_earlier_call_is_wrong(run):
    line = by_name(run[1])["remembers_by_address"]
    assert line["outcome"] == "wrong"
    assert line["message"].startswith("verified before, but wrong while timed")


def test_an_exception_costs_one_line(run):
    line = by_name(run[1])["raises_when_large"]
    assert (line["outcome"], line["message"]) == ("error", "MemoryError: too large for me")


def test_a_loss_may_overwrite_its_logits_if_it_says_so(run):
    line = by_name(run[1])["over_the_logits"]
    assert line["outcome"] == "timed"
    assert line["error_over_bound"] < 1


def test_memory_is_what_the_call_adds(run):
    found = by_name(run[1])
    if found["copy"]["added_bytes"] is None:
        pytest.skip("no writable /proc/self/clear_refs")
    known = {"copy": 0.0, "clone": 1.0, "over_the_logits": 0.0, "torch_cross_entropy": 3.0}
    for name, multiple in known.items():  # Linux counts pages in batches of 128 KiB a core
        assert found[name]["added_bytes_ratio"] == pytest.approx(multiple, abs=0.13), name


def test_pytorch_and_the_copies_are_measured_unasked(run):
    found = by_name(run[1])
    assert found["copy"]["ratio_to_copy"] == 1.0
    assert found["torch_cross_entropy"]["ratio_to_torch"] == 1.0
    line = found["smooth_detour"]
    assert line["ratio_to_copy_low"] <= line["ratio_to_copy"] <= line["ratio_to_copy_high"]
    assert line["rounds"] == 7
    assert {"family", "dtype", "device", "shape", "pass"} <= line.keys()


def test_passes_and_dtypes_each_have_their_lines(tmp_path, capsys, monkeypatch):
    path = tmp_path / "b.jsonl"
    code, out, err = within(
        capsys,
        monkeypatch,
        *("torch_cross_entropy", "--dtype", "float32,bfloat16", "--pass", "forward,backward"),
        *("--rounds", "2", "--json", str(path), "--shape", "64x100"),
    )
    assert code == 0, err
    keys = {(line["dtype"], line["pass"]) for line in lines_of(path)[1:-1]}
    assert len(keys) == 4
    for line in lines_of(path):
        validator().validate(line)
    assert "2 rounds are too few for a 95 % interval" in out
    assert "\x1b" not in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "give at least one TARGET"),
        (("torch_cross_entropie",), "Did you mean 'torch_cross_entropy'?"),
        (("gathered", "--pass", "sideways"), "unknown pass 'sideways'"),
        (("gathered", "--dtype", "float31"), "Did you mean 'float32'?"),
        (("gathered", "--shape", "big"), "is not NxC of positive whole numbers"),
        (("gathered", "linear_chunked", "--shape", "64x9"), "shape '64x9' is not NxHxC"),
        (("gathered", "gathered"), "two targets are called 'gathered'"),
        (("gathered", "--json", "/nowhere/b.jsonl"), "there is no folder"),
    ],
)
def test_mistakes_are_named(arguments, said, capsys, monkeypatch):
    code, _, err = within(capsys, monkeypatch, *arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_a_loss_that_needs_another_of_the_devices_costs_its_lines_only(monkeypatch):
    """As one for GPUs does where a CPU is measured as well."""

    def smoke(engine, device=None):
        if device == "cpu" and engine.subject.implementation.name == "gathered":
            raise UsageError("gathered runs on a GPU")

    monkeypatch.setattr(Engine, "smoke", smoke)
    options = Options(shape=("8x16",), device=("cpu", "cuda"), rounds=1)
    bench = Bench(("gathered", "one_hot"), options, Silence())
    bench.load()
    key = next(key for key in bench.keys() if key.device == "cpu")  # noqa: SIM118 - no mapping
    lines = {line.implementation: line for line in bench._measure(key)}
    assert lines["gathered"].outcome == "unsupported"
    assert "runs on a GPU" in lines["gathered"].message
    assert lines["one_hot"].outcome == "timed"


def test_one_that_runs_on_none_of_the_devices_is_a_mistake(monkeypatch):
    def smoke(engine, device=None):
        raise UsageError(f"does not run on {device}")

    monkeypatch.setattr(Engine, "smoke", smoke)
    with pytest.raises(UsageError, match="cpu"):
        Bench(("gathered",), Options(shape=("8x16",)), Silence()).load()


def test_interrupted_keeps_the_rounds_so_far(tmp_path):
    path = tmp_path / "b.jsonl"
    arguments = ("gathered", "--shape", "512x1000", "--rounds", "100000", "--json", str(path))
    child = subprocess.Popen([*COMMAND, *arguments], stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(6.0)  # a busy machine took 8 rounds in two
    os.kill(child.pid, signal.SIGINT)
    out, _ = child.communicate(timeout=30)
    assert child.returncode == 130
    assert "gathered" in out
    lines = lines_of(path)
    assert {line["implementation"] for line in lines[1:]} >= {"copy", "gathered"}
    assert lines[-1]["kind"] == "bench"
    assert 10 < lines[-1]["rounds"] < 100000
