"""Blocks of rows tell the same as the oracle on the whole call."""

from dataclasses import replace

import pytest
import torch

from nll_conformance.bench import inputs, verify
from nll_conformance.bench.contestant import Loss, Workplace
from nll_conformance.discover import family_part
from nll_conformance.engine import Engine
from nll_conformance.wish import Wish

TARGETS = {
    "cross_entropy": "torch_cross_entropy",
    "nll": "torch_nll_loss",
    "prob_nll": "prob_gather",
    "gaussian_nll": "torch_gaussian_nll",
    "poisson_nll": "torch_poisson_nll",
    "bce_with_logits": "torch_bce_with_logits",
    "linear_cross_entropy": "linear_then_cross_entropy",
    "causal_cross_entropy": "causal_shifted",
}
SHAPES = {3: (12, 6, 10), 2: (12, 10)}


def answered(name, dtype):
    subject = Engine(Wish(TARGETS[name]), lambda case: None).subject
    axes = len(inputs.family(name).axes.split("x"))
    case = inputs.case_at(SHAPES[axes], name, dtype, "cpu")
    built = inputs.build(case)
    loss = Loss(subject, Workplace([built]), "both")
    return built, loss.answer(loss.ready(0)(), keep=True)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", TARGETS)
def test_a_right_answer_passes_whole_and_in_blocks(name, dtype, monkeypatch):
    built, answer = answered(name, dtype)
    for elements in (2**21, 40):
        monkeypatch.setattr(verify, "BLOCK_ELEMENTS", elements)
        again = replace(answer, told=set())
        verify.verify(built, [again])
        assert again.wrong == ""
        assert again.untold() == ()


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"gaussian_nll"}))
def test_a_wrong_entry_in_any_block_is_seen(name, monkeypatch):
    monkeypatch.setattr(verify, "BLOCK_ELEMENTS", 40)
    built, answer = answered(name, "float32")
    for tensor in answer.grads:
        grad = answer.grads[tensor].clone()
        flat = grad.flatten()
        flat[flat.abs().argmax()] *= 1.05
        wrong = replace(answer, grads={**answer.grads, tensor: grad})
        verify.verify(built, [wrong])
        assert f"gradient of {tensor}" in wrong.wrong
    wrong = replace(answer, value=answer.value * 1.01)
    verify.verify(built, [wrong])
    assert wrong.wrong.startswith("loss is")


@pytest.mark.parametrize("name", ["cross_entropy", "linear_cross_entropy", "nll"])
def test_the_truth_of_blocks_is_that_of_the_whole(name, monkeypatch):
    built, answer = answered(name, "float64")
    monkeypatch.setattr(verify, "BLOCK_ELEMENTS", 40)
    found = verify.verify(built, [answer])[answer.kind]
    oracle = family_part(name, "oracle")
    whole = oracle.truth(
        built.case,
        built.tensors,
        precision="fp32_inside",
        output_dtype=torch.float64,
        divergences={},
    )
    assert float(found.value.value) == pytest.approx(float(whole.value.value), rel=1e-14)
    assert float(whole.value.bound) <= float(found.value.bound) <= 3 * float(whole.value.bound)
    torch.testing.assert_close(
        found.rows["input"].value, whole.grads["input"].value[:4], rtol=1e-13, atol=1e-18
    )


def test_large_tensors_repeat_no_row_as_it_is():
    built = inputs.build(inputs.case_at((1100, 2000), "cross_entropy", "float32", "cpu"))
    rows = built.tensors["input"].detach()
    assert rows.shape == (1100, 2000)
    assert len(torch.unique(rows, dim=0)) == 1100


def test_answers_to_one_input_are_wrong_for_the_other():
    for name in sorted(set(TARGETS) & {"cross_entropy", "linear_cross_entropy"}):
        values = []
        for number in range(inputs.COUNT):
            axes = len(inputs.family(name).axes.split("x"))
            shape = {2: (512, 2000), 3: (512, 32, 2000)}[axes]
            built = inputs.build(inputs.case_at(shape, name, "float32", "cpu", number))
            subject = Engine(Wish(TARGETS[name]), lambda case: None).subject
            loss = Loss(subject, Workplace([built]), "both")
            answer = loss.answer(loss.ready(0)())
            values.append(verify.verify(built, [answer])[answer.kind].value)
        apart = abs(float(values[0].value - values[1].value))
        assert apart > 2 * float(values[0].bound + values[1].bound)
