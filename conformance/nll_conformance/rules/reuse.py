"""One call after another in the same process: nothing of the first may show in the second."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import torch

from .. import shown
from ..cases import (
    Draft,
    Draw,
    Variation,
    any_reduction,
    forward_only,
    mixed_upstream,
    sibling,
    simplest,
    vary,
)
from ..classification import IGNORED, ignored, several_rows, smoothed, weighted
from ..contract import rule
from ..family import OBJECT
from ..judge import agrees, identical, value_agrees
from ..model import Case, Judgement
from ..observe import Caller, plain_tensor
from ..recipes import TensorRecipe, build
from ..together import any_call, any_option, maybe_an_option, maybe_forward_only, rare_sizes
from ._families import CLASSES

SOURCE = "a loss is a function of its arguments, whatever was called before"


def _with_fewer_ignored(case: Case) -> Case:
    """The same with a row less that is ignored or masked, where some are."""

    def thinned(name: str, recipe: TensorRecipe) -> TensorRecipe:
        return replace(recipe, edits=recipe.edits[1:]) if name in ("target", "mask") else recipe

    return replace(case, recipe=tuple((name, thinned(name, each)) for name, each in case.recipe))


@rule("must", cases=vary(any_call, any_reduction, mixed_upstream), source=SOURCE, share=0.8)
def second_call(case: Case, call: Caller) -> Judgement:
    """The second call with other numbers, and a third with the first's, are right as well."""
    for each in (case, sibling(case), case):
        yield from agrees(call(each))


@rule("must", cases=vary(any_call, any_reduction), source=SOURCE, share=0.6)
def other_shape(case: Case, call: Caller) -> Judgement:
    """Calls of another shape in between change nothing."""
    from ..run import context_for

    context = context_for(call.subject, case.rule, case.dtype, case.device)
    yield from agrees(call(case))
    yield from agrees(call(simplest(context)))
    yield from agrees(call(case))


@rule("must", cases=vary(any_call, any_reduction), source=SOURCE, share=0.4)
def other_dtype(case: Case, call: Caller) -> Judgement:
    """A call in another dtype before changes nothing."""
    from ..run import context_for

    dtypes = call.subject.implementation.dtypes
    for dtype in [d for d in dtypes if d != case.dtype][:1]:
        call(simplest(context_for(call.subject, case.rule, dtype, case.device)))
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(any_option, any_reduction),
    source=SOURCE,
    shows="""
        loss = {call}
        same = [{names}]
        {other_tensors}
        with torch.no_grad():
            for tensor, new in zip(same, [{names}]):
                tensor.copy_(new)
        [{names}] = same
        loss = {other_call}
    """,
)
def changed_in_place(case: Case, call: Caller) -> Judgement:
    """The same tensors with other contents give the new result: nothing is cached by address."""
    tensors = call.tensors(case)
    call.forward(case, tensors)
    other = _with_fewer_ignored(sibling(case))
    with torch.no_grad():
        for name, recipe in other.recipe:
            tensors[name].copy_(build(recipe, case.device))
    forward = replace(other, upstream=None)
    value = call.forward(other, tensors)
    yield from value_agrees(call.observation(forward, value, {}, tensors))


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source=SOURCE,
    needs=("gradient",),
    share=1.0,
    shows=shown.INTERLEAVED,
)
def interleaved(case: Case, call: Caller) -> Judgement:
    """Two forwards before their backwards keep apart: no buffer is shared between calls."""
    yield from _interleaved(call, (case, sibling(case)))


def _interleaved(call: Caller, cases: tuple[Case, ...]) -> Judgement:
    tensors = [call.tensors(each) for each in cases]
    values = [call.forward(each, own) for each, own in zip(cases, tensors, strict=True)]
    for each, own, value in zip(cases, tensors, values, strict=True):
        upstream = call.upstream(each, value)
        if upstream.shape == value.shape:
            call.backward(value, upstream)
            yield from agrees(call.observation(each, value, call.grads(own), own))


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream, maybe_forward_only),
    source=SOURCE,
    share=1.0,
    shows="""
        loss = {call}
        {backward}
        kept = [loss.detach(), *[leaf.grad for leaf in [{leaves}]]]
        before = [result.clone() for result in kept]
        {other_tensors}
        loss = {other_call}
        {backward}
        for result, old in zip(kept, before):
            torch.testing.assert_close(result, old, rtol=0, atol=0, equal_nan=True)
    """,
)
def results_are_kept(case: Case, call: Caller) -> Judgement:
    """A result stays what it was when the loss is called again."""
    first = call(case)
    value = first.value.detach().clone()
    grads = {n: None if g is None else g.clone() for n, g in first.grads.items()}
    call(sibling(case))
    yield from identical("the first loss after a second call", first.value, value)
    for name, grad in grads.items():
        yield from identical(f"the first gradient of {name}", first.grads[name], grad)


#: A loss that counts its calls to behave while it is looked at is not patient for longer.
_CALLS = 64


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source=SOURCE,
    share=0.2,
    shows="""
        for again in range(64):
            loss = {call}
        loss = {call}
        {backward}
    """,
)
def many_calls(case: Case, call: Caller) -> Judgement:
    """After many calls the result is right as well: it does not depend on their number."""
    tensors = call.tensors(case)
    with torch.no_grad():
        for _ in range(_CALLS):
            call.forward(case, tensors)
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(any_call, any_reduction, forward_only),
    source="threads of a process share its functions (DataParallel calls losses from several)",
    share=0.6,
    shows="""
        from concurrent.futures import ThreadPoolExecutor
        def function():
            return {call}
        with ThreadPoolExecutor(1) as pool:
            loss = pool.submit(function).result()
    """,
)
def from_a_thread(case: Case, call: Caller) -> Judgement:
    """Called from another thread, by somebody else, the result is right as well."""
    function, positional, keywords = call.arguments(case, call.tensors(case))
    with ThreadPoolExecutor(1) as pool:
        # No function of the suite stands among the callers there.
        asked = pool.submit(function, *positional, **keywords)
        value = call.guard("the call from a thread", asked.result)
    value = plain_tensor("the call from a thread returned", value)
    yield from value_agrees(call.observation(case, value, {}))


@rule(
    "must",
    cases=vary(rare_sizes, maybe_an_option, any_reduction),
    source="torch.inference_mode: its tensors cannot be saved for backward",
    needs=("gradient",),
    share=0.3,
    families=CLASSES,
    shows="""
        with torch.inference_mode():
            {tensors}
            loss = {call}
        {other_tensors}
        loss = {other_call}
        loss.backward(upstream)
    """,
)
def after_inference(case: Case, call: Caller) -> Judgement:
    """After a call in inference mode the loss can be trained: what it keeps serves both."""
    still = tuple((name, replace(recipe, grad=False)) for name, recipe in case.recipe)
    with torch.inference_mode():
        inference = replace(case, recipe=still, upstream=None)
        call.forward(inference, call.tensors(inference))
    yield from agrees(call(case))


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source="torch.autocast: a cast that is cached without gradients has none later",
    needs=("gradient",),
    share=0.8,
    shows="""
        with torch.no_grad():
            loss = {call}
        loss = {call}
        {backward}
    """,
)
def after_no_grad(case: Case, call: Caller) -> Judgement:
    """After a call under no_grad, the same tensors get their gradients in the next."""
    tensors = call.tensors(case)
    with torch.no_grad():
        call.forward(case, tensors)
    value = call.forward(case, tensors)
    call.backward(value, call.upstream(case, value))
    yield from agrees(call.observation(case, value, call.grads(tensors), tensors))


def _with_rows(case: Case, rows: int) -> Case:
    """The same batch cut to, or filled up to, that many rows."""

    def sized(recipe: TensorRecipe, axis: int = 0) -> TensorRecipe:
        places = ((edit[0][axis], edit) for edit in recipe.edits)
        kept = tuple(e for at, e in places if not isinstance(at, int) or at < rows)
        shape = (*recipe.shape[:axis], rows, *recipe.shape[axis + 1 :])
        return replace(recipe, shape=shape, edits=kept)

    upstream = case.upstream
    if upstream and case.reduction == "none":
        # where the vocabulary is split each rank has its own, and they come first
        upstream = sized(upstream, axis=int(case.family == "vocab_parallel_cross_entropy"))
    recipe = tuple((name, sized(recipe)) for name, recipe in case.recipe)
    return replace(case, recipe=recipe, upstream=upstream)


def _later_batches(case: Case, made: frozenset[str]) -> Iterator[Case]:
    """What comes to one object after a batch: other numbers, then more rows, and fewer.

    What it was made with stays as it is.
    """
    fixed = tuple(each for each in case.recipe if each[0] in made)
    batch = replace(case, recipe=tuple(each for each in case.recipe if each[0] not in made))
    other = _with_fewer_ignored(sibling(batch))
    yield replace(other, recipe=other.recipe + fixed)
    if _has_rows_to_spare(batch) and all(len(recipe.shape) < 2 for _, recipe in fixed):
        rows = other.recipe[0][1].shape[0]
        for count in (rows + 1, rows - 1):
            sized = _with_rows(other, count)
            yield replace(sized, recipe=sized.recipe + fixed)


def _has_rows_to_spare(batch: Case) -> bool:
    """Whether the first dimension of all is the batch's, and is not used up without one row."""
    if batch.tensor("linear_weight") is not None:  # as long as there are classes
        return False
    shapes = [recipe.shape for _, recipe in batch.recipe]
    lengths = {shape[0] if shape else 0 for shape in shapes}
    return len(shapes[0]) > 1 and len(lengths) == 1 and min(lengths) > 1


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source="a loss module is made once and called with batch after batch, the last one shorter",
    needs=(OBJECT,),
    share=0.8,
    revision=2,
    shows="""
        loss_object = {object}
        loss = {call}
        {backward}
        {later_calls}
    """,
)
def same_object(case: Case, call: Caller) -> Judgement:
    """One object of a module class gives each batch its own result, also one of another size."""
    with call.one_object(case) as made:
        yield from agrees(call(case))
        for each in _later_batches(case, made):
            yield from agrees(call(each))


@rule(
    "must",
    cases=vary(any_call, any_reduction, mixed_upstream),
    source="gradient accumulation: the losses of several batches are added, then differentiated",
    needs=(OBJECT, "gradient"),
    share=0.8,
    shows=f"loss_object = {{object}}\n{inspect.cleandoc(shown.INTERLEAVED)}",
)
def same_object_interleaved(case: Case, call: Caller) -> Judgement:
    """Two forwards of one object before their backwards keep apart: it keeps nothing of them."""
    with call.one_object(case) as made:
        yield from _interleaved(call, (case, next(_later_batches(case, made))))


def _other_options(draft: Draft, draw: Draw) -> None:
    several_rows(draft, draw)
    ways: list[Variation] = [any_reduction]
    if draft.can("ignore_minus_100"):
        ways.insert(0, ignored(IGNORED))
    if draft.can("weight"):
        ways.append(weighted)
    if draft.can("label_smoothing"):
        ways.append(smoothed())
    draw.among(ways)(draft, draw)


@rule(
    "must",
    cases=vary(_other_options),
    source=SOURCE,
    share=0.6,
    families=CLASSES,
)
def other_options(case: Case, call: Caller) -> Judgement:
    """Calls of the same shape with other weights, options or ignored rows change nothing."""
    for each in (case, _bare(case, call), case):
        yield from agrees(call(each))


def _bare(case: Case, call: Caller) -> Case:
    """The same input and targets, none of them ignored, without options."""
    return replace(
        case,
        recipe=tuple(
            (name, replace(recipe, edits=()) if name == "target" else recipe)
            for name, recipe in case.recipe
            if name in call.family.positional
        ),
        options=tuple(
            (name, value)
            for name, value in case.options
            if name == "reduction" or name in call.subject.fixed
        ),
    )


@rule(
    "must",
    cases=vary(_other_options),
    source=SOURCE,
    needs=("gradient",),
    share=0.4,
    families=CLASSES,
    shows=shown.INTERLEAVED,
)
def interleaved_options(case: Case, call: Caller) -> Judgement:
    """Two forwards with other options before their backwards: each has its own."""
    yield from _interleaved(call, (case, _bare(case, call)))
