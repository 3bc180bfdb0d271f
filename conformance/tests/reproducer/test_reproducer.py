"""A reproducer makes the very bits of its case, and shows the discrepancy on its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import torch

from nll_conformance.model import Case, Finding
from nll_conformance.recipes import (
    LAYOUTS,
    REGIMES,
    TensorRecipe,
    build,
    recipe_from_json,
    recipe_to_json,
)
from nll_conformance.reproducer import program
from nll_conformance.reproducer_tensors import helpers, tensor_lines

DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")
SHAPES = ((), (1,), (7,), (80,), (0, 5), (3, 0), (2, 3), (13, 11), (2, 3, 2), (3, 5, 2, 7))


def made_by_program(recipe: TensorRecipe) -> torch.Tensor:
    space: dict[str, torch.Tensor] = {}
    lines = ["import torch", *helpers([recipe]), *tensor_lines("x", recipe)]
    exec("\n".join(lines), space)
    return space["x"]


def bits(tensor: torch.Tensor) -> list[int]:
    plain = torch.empty(tensor.numel(), dtype=tensor.dtype)
    plain.view(tensor.shape).copy_(tensor.detach())
    return plain.view(torch.uint8).tolist() if plain.numel() else []


def span(rng: random.Random, size: int) -> tuple[int, int]:
    start = rng.randrange(size)
    return start, rng.randrange(start, size) + 1


def random_edits(rng: random.Random, recipe: TensorRecipe) -> tuple[object, ...]:
    floating = recipe.dtype.startswith(("float", "bfloat"))
    values = [0.0, 1.0, 3.0, *([-0.0, 1e30, float("inf"), float("nan")] if floating else [])]
    return tuple(
        (
            tuple(
                rng.choice([None, rng.randrange(size), span(rng, size)]) for size in recipe.shape
            ),
            rng.choice(values),
        )
        for _ in range(rng.randrange(3))
        if recipe.elements
    )


def random_recipe(rng: random.Random, regime: str, layout: str, dtype: str) -> TensorRecipe:
    floating = dtype.startswith(("float", "bfloat"))
    shape = rng.choice(SHAPES)
    if regime in ("ramp", "simplex"):  # both need a class dimension that is not empty
        shape = rng.choice([s for s in SHAPES if s and s[min(1, len(s) - 1)]])
    recipe = TensorRecipe(
        regime,
        shape,
        dtype,
        scale=rng.choice([0, 0, -3, 5, -1060, 60]) if floating else 0,
        offset=rng.choice([0.0, -0.0, 1e4, -17.5, 0.1]) if floating else 0.0,
        seed=rng.randrange(10**6),
        modulus=rng.randrange(1, 20),
        layout=layout,
        grad=floating and rng.random() < 0.5,
    )
    changes = {"edits": random_edits(rng, recipe)}
    return TensorRecipe(**{**recipe.__dict__, **changes})


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "far"])
@pytest.mark.parametrize("regime", REGIMES)
def test_program_makes_the_bits_of_the_recipe(regime: str, layout: str) -> None:
    rng = random.Random(f"{regime} {layout}")
    for dtype in DTYPES:
        for _ in range(12):
            recipe = random_recipe(rng, regime, layout, dtype)
            want, got = build(recipe), made_by_program(recipe)
            assert got.dtype == want.dtype, recipe
            assert got.shape == want.shape, recipe
            assert got.stride() == want.stride(), recipe
            assert got.storage_offset() == want.storage_offset(), recipe
            assert got.requires_grad == want.requires_grad, recipe
            assert got.is_leaf == want.is_leaf, recipe
            assert bits(got) == bits(want), recipe
            told = json.dumps(recipe_to_json(recipe))
            again = recipe_from_json(json.loads(told))
            assert json.dumps(recipe_to_json(again)) == told
            assert bits(build(again)) == bits(want), recipe


def test_rows_further_apart_than_2_31_elements() -> None:
    recipe = TensorRecipe("levels", (2, 3), "bool", modulus=2, layout="far")
    want, got = build(recipe), made_by_program(recipe)
    assert got.stride() == want.stride()
    assert got.stride(0) > 2**31
    assert torch.equal(got, want)


def test_each_small_tensor_takes_one_line_and_large_ones_are_formulas() -> None:
    small = TensorRecipe("scatter", (8, 8), "float32", grad=True)
    assert len(tensor_lines("x", small)) == 1
    (moved,) = tensor_lines("x", small, "cuda")
    assert ".to('cuda')" in moved
    large = TensorRecipe("scatter", (4096, 32000), "float32", seed=3)
    (line,) = tensor_lines("x", large)
    assert len(line) < 120


def case(upstream: bool = True, **options: object) -> Case:
    return Case(
        "cross_entropy",
        "ignore_index.zero_gradient",
        (
            ("input", TensorRecipe("ramp", (3, 5), "float32", grad=True)),
            ("target", TensorRecipe("levels", (3,), "int64", modulus=5)),
            ("weight", TensorRecipe("constant", (5,), "float32", offset=2.0)),
        ),
        tuple(options.items()),  # type: ignore[arg-type]
        TensorRecipe("constant", (), "float32", offset=1.0) if upstream else None,
        "float32",
        "cpu",
    )


def run(text: str, folder: Path) -> subprocess.CompletedProcess[str]:
    script = folder / "reproducer.py"
    script.write_text(text)
    command = [sys.executable, "-I", str(script)]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_case_knows_its_program() -> None:
    text = case(ignore_index=2).to_python("torch.nn.functional:cross_entropy")
    assert "from torch.nn.functional import cross_entropy" in text
    assert "cross_entropy(input, target, weight=weight, ignore_index=2)" in text
    assert "loss.backward(upstream)" in text
    compile(text, "reproducer", "exec")


def test_nothing_flows_back_without_upstream() -> None:
    assert "backward" not in case(upstream=False).to_python("m:f")


def test_module_takes_weight_and_options_in_its_constructor() -> None:
    text = program(case(reduction="sum"), "torch.nn:CrossEntropyLoss", forward_only=())
    assert "CrossEntropyLoss(weight=weight, reduction='sum')(input, target)" in text


def test_an_implementation_is_loaded_first() -> None:
    assert "entry.load()(input, target" in program(case(), "pack.age:entry", load=".load()")


def test_a_name_alone_is_left_to_the_reader() -> None:
    text = program(case(), "<lambda>\nimport os")
    assert "loss_function = ...  # your loss: <lambda>\\nimport os" in text
    compile(text, "reproducer", "exec")


@pytest.mark.parametrize("attr", ["target", "input", "loss", "torch"])
def test_an_attr_named_like_a_variable_gets_another_name(attr: str) -> None:
    text = program(case(), f"package.module:{attr}")
    assert f"from package.module import {attr} as loss_function" in text
    assert "loss = loss_function(input" in text


def test_running_it_alone_shows_a_wrong_value_and_fails(tmp_path: Path) -> None:
    (tmp_path / "mykernel.py").write_text(
        textwrap.dedent("""
        import torch
        def broken(input, target, weight=None):
            return torch.nn.functional.cross_entropy(input, target, weight=weight) * 2
        """)
    )
    finding = Finding("loss is twice too large", want="1.5", bound="1e-6")
    shown = run(program(case(), "mykernel.py:broken", finding=finding), tmp_path)
    assert shown.returncode == 1
    assert "expected 1.5 within 1e-06" in shown.stdout
    assert "AssertionError: " in shown.stderr
    assert "is not 1.5 within 1e-06" in shown.stderr


def test_a_file_that_no_import_can_name(tmp_path: Path) -> None:
    folder = tmp_path / "my kernels"
    folder.mkdir()
    (folder / "sibling.py").write_text("FACTOR = 2\n")
    (folder / "fused-ce.py").write_text(
        "import torch, sibling\n"
        "def loss(input, target, weight=None):\n"
        "    return sibling.FACTOR * input.sum()\n"
    )
    shown = run(program(case(), "my kernels/fused-ce.py:loss"), tmp_path)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "loss: tensor(60., " in shown.stdout


@pytest.mark.parametrize(
    ("want", "bound", "index", "of", "code"),
    [
        ("0.0", "0", (0, 1), "input", 1),
        ("0.0", "inf", (0, 1), "input", 0),
        ("nan", "0", None, "loss", 1),
        ("inf", "0", None, "loss", 1),
    ],
)
def test_comparison(
    want: str, bound: str, index: tuple[int, ...] | None, of: str, code: int
) -> None:
    finding = Finding("wrong", want=want, bound=bound, index=index, of=of)
    text = program(case(), "torch.nn.functional:cross_entropy", finding=finding)
    if code:
        with pytest.raises(AssertionError, match="not"):
            exec(text, {})
    else:
        exec(text, {})


def test_a_nan_never_passes() -> None:
    finding = Finding("loss is not a number", want="1.0", bound="inf")
    text = program(case(), "m:f", finding=finding)
    comparison = text[text.index("got, want") :]
    with pytest.raises(AssertionError):
        exec(comparison, {"loss": torch.tensor(float("nan"))})


@pytest.mark.parametrize(
    ("finding", "last"),
    [
        (
            Finding("off", "1.0", "0.0", "0.5", (0, 1), of="input"),
            'assert abs(got - want) <= bound, f"{got} is not {want} within 0.5"',
        ),
        (
            Finding("the loss has shape (3,), expected ()", "(3,)", "()", kind="shape"),
            "assert tuple(loss.shape) == (), tuple(loss.shape)",
        ),
        (
            Finding("no gradient arrived at 'input'", "None", "a gradient", kind="no gradient"),
            'assert input.grad is not None, "no gradient arrived"',
        ),
        (
            Finding("it is 1, expected 0", "1.0", "0.0", "0.0", of="second derivative"),
            "# it is 1, expected 0",
        ),
        (Finding("the call changed: input", kind="state"), "# the call changed: input"),
    ],
)
def test_the_last_line_checks_what_the_finding_speaks_of(finding: Finding, last: str) -> None:
    assert program(case(), "m:f", finding=finding).splitlines()[-1] == last


def test_a_finding_without_numbers_is_said_in_comments_that_hold_any_text() -> None:
    finding = Finding("x", got="raised\nimport os; os._exit(0)", want="no error", kind="raised")
    text = program(case(), "m:f", finding=finding)
    assert "# expected: no error" in text
    assert "\nimport os" not in text


def test_what_a_rule_shows_takes_the_place_of_the_plain_call() -> None:
    finding = Finding("off", "1.0", "0.0", "0.5", of="sum of two")
    shows = "for _ in range(2):\n    {tensors}\n    sum_of_two = {call} + {call}"
    text = program(case(upstream=False), "m:f", finding=finding, shows=shows)
    assert text.count("input = ") == text.count("    input = ") == 1
    call = "f(input, target, weight=weight)"
    assert f"    sum_of_two = {call} + {call}\ngot, want, bound = sum_of_two.item()" in text


def test_every_call_of_the_rule_is_made() -> None:
    calls = (case(reduction="sum"), case(upstream=False))
    text = program(calls[0], "m:f", finding=Finding("off", calls=calls))
    assert text.count("loss = f(") == 2
    assert text.index("reduction='sum'") < text.rindex("loss = f(")


def test_options_that_the_target_has_fixed_are_not_passed() -> None:
    text = program(case(reduction="sum"), "m:f", fixed=("reduction",))
    assert "loss = f(input, target, weight=weight)" in text


def test_a_loss_gets_copies_of_what_it_overwrites() -> None:
    text = program(case(), "m:f", mutates=("input",))
    assert "loss = f(input.clone(), target, weight=weight)" in text
