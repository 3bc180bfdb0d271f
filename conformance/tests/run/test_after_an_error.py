"""What a loss raised is known for a while; what it held open must not be."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from nll_conformance.engine import Engine
from nll_conformance.errors import TargetRaised
from nll_conformance.foreign import guarded
from nll_conformance.model import Profile
from nll_conformance.wish import Wish


def failing(tensor: torch.Tensor) -> torch.Tensor:
    raise ValueError("a hook of a call that is over")


def hooks() -> Iterator[None]:
    with torch.autograd.graph.saved_tensors_hooks(failing, failing):
        yield


def raises_with_hooks() -> None:
    """As torch.utils.checkpoint before PyTorch 2.13: they end when the generator does."""
    generator = hooks()
    next(generator)
    raise TypeError("no loss of this")


def test_a_call_that_raised_has_no_part_in_the_next_one() -> None:
    with pytest.raises(TargetRaised) as kept:
        guarded("the call", raises_with_hooks)
    input = torch.ones(2, requires_grad=True)
    guarded("the call", input.exp().sum().backward)
    assert isinstance(kept.value.error, TypeError) and input.grad is not None


def test_what_an_error_leaves_changed_is_told() -> None:
    profile: Profile = "quick"
    name = "leaking.gradients_off_after_an_error"
    engine = Engine(Wish(name, profile=profile), lambda case: None)
    result = engine.run("errors.leaves_no_trace", "float32", "cpu")
    assert result.outcome == "fail" and "left changed: grad mode" in result.message, result
