"""What judges it is replaced, or set otherwise; the losses themselves are wrong, too."""

from __future__ import annotations

import builtins
import contextlib
import gc
import json
import math
import random
import sys
import time
import warnings
from typing import Any

import torch
from torch import Tensor

from ._hostile import STATE, VALUES, Call, always, hostile

WRONG = ("values.plain_mean", "reductions.sum")


def _wrong(call: Call) -> Tensor:
    return call.loss() * 2


@hostile("fail", "torch.equal", when=always, rules=STATE, others=VALUES)
def everything_is_equal(call: Call) -> None:
    """Replaces torch.equal by a function that always agrees."""
    torch.equal = lambda *_: True


@hostile("fail", "expected", when=always, rules=WRONG, others=())
def nothing_is_wrong(call: Call) -> Tensor:
    """Returns a wrong loss, and no comparison of tensors finds anything any more."""

    def agrees(self: Tensor, other: Any) -> Any:
        return torch.ones_like(self, dtype=torch.bool)

    for name in ("__eq__", "__le__", "__lt__", "__ge__", "isnan"):
        setattr(torch.Tensor, name, agrees)
    setattr(torch, "isnan", agrees)  # noqa: B010 - which it is not typed for
    torch.Tensor.abs = torch.zeros_like  # type: ignore[assignment, method-assign]
    return _wrong(call)


@hostile("fail", "expected", when=always, rules=WRONG, others=())
def truth_replaced(call: Call) -> Tensor:
    """Returns a wrong loss and makes PyTorch's own wrong as well."""
    torch.nn.functional.cross_entropy = _wrong  # type: ignore[assignment]
    torch.logsumexp = torch.sum
    torch.log_softmax = torch.zeros_like  # type: ignore[assignment]
    return _wrong(call)


@hostile("fail", "expected", when=always, rules=WRONG, others=())
def judges_replaced(call: Call) -> Tensor:
    """Returns a wrong loss and looks for functions of its judges to replace."""
    for name, module in list(sys.modules.items()):
        if name.startswith("nll_conformance.judge"):
            vars(module)["compare"] = lambda *args: iter(())
            vars(module)["agrees"] = vars(module)["compare"]
    return _wrong(call)


@hostile("fail", "backward", when=always, rules=STATE, others=VALUES)
def backward_replaced(call: Call) -> None:
    """Replaces Tensor.backward by nothing."""
    torch.Tensor.backward = lambda *args, **kwargs: None  # type: ignore[method-assign]


@hostile("fail", "json.dumps", when=always, rules=STATE, others=VALUES)
def json_replaced(call: Call) -> None:
    """Replaces json.dumps by a function that raises."""
    json.dumps = lambda *args, **kwargs: 1 / 0  # type: ignore[assignment]


@hostile("fail", "math.isfinite", when=always, rules=STATE, others=VALUES)
def mathematics_replaced(call: Call) -> None:
    """Replaces functions of math."""
    math.isfinite = lambda _: True
    math.sqrt = lambda _: 0.0


@hostile("fail", "time.monotonic", when=always, rules=STATE, others=VALUES)
def clock_replaced(call: Call) -> None:
    """Stops the clocks."""
    time.monotonic = time.perf_counter = time.time = lambda: 0.0


@hostile("fail", "builtins.isinstance", when=always, rules=STATE, others=VALUES)
def builtins_replaced(call: Call) -> None:
    """Replaces isinstance by a function that always agrees."""
    builtins.isinstance = lambda *_: True


@hostile("fail", "imported modules", when=always, rules=STATE, others=VALUES)
def modules_replaced(call: Call) -> None:
    """Takes modules out of sys.modules and puts others in their place."""
    for name in ("torch.nn.functional", "json", "nll_conformance.judge", "nll_conformance.run"):
        sys.modules[name] = None  # type: ignore[assignment]
    sys.modules.pop("math", None)


@hostile("fail", "grad mode", when=always, rules=STATE, others=VALUES)
def gradients_off(call: Call) -> Tensor:
    """Leaves gradients off for everybody."""
    loss = call.loss()
    torch.set_grad_enabled(False)
    return loss


@hostile("fail", "default dtype", when=always, rules=STATE, others=VALUES)
def default_dtype(call: Call) -> Tensor:
    """Leaves bfloat16 as the default dtype."""
    loss = call.loss()
    torch.set_default_dtype(torch.bfloat16)
    return loss


@hostile("fail", "default device", when=always, rules=STATE, others=VALUES)
def default_device(call: Call) -> Tensor:
    """Leaves "meta" as the default device, on which nothing is computed."""
    loss = call.loss()
    torch.set_default_device("meta")
    return loss


@hostile("fail", "thread count", when=always, rules=STATE, others=VALUES)
def thread_count(call: Call) -> None:
    """Lets torch use 64 threads."""
    torch.set_num_threads(64)


@hostile("fail", "deterministic mode", when=always, rules=STATE, others=VALUES)
def deterministic_mode(call: Call) -> None:
    """Turns deterministic algorithms on, but only as a warning."""
    torch.use_deterministic_algorithms(mode=True, warn_only=True)


@hostile("fail", "RNG", when=always, rules=STATE, others=VALUES)
def random_numbers(call: Call) -> None:
    """Seeds the random numbers of everybody."""
    torch.manual_seed(0)
    random.seed(0)


@hostile("fail", "warning filters", when=always, rules=STATE, others=VALUES)
def warning_filters(call: Call) -> None:
    """Silences all warnings."""
    warnings.simplefilter("ignore")


@hostile("fail", "garbage collection", when=always, rules=STATE, others=VALUES)
def garbage_collection_off(call: Call) -> None:
    """Turns the garbage collector off."""
    gc.disable()


@hostile("fail", "recursion limit", when=always, rules=STATE, others=VALUES)
def recursion_limit(call: Call) -> None:
    """Lowers the recursion limit as far as it can."""
    sys.setrecursionlimit(400)


@hostile("fail", "trace function", when=always, rules=STATE, others=VALUES)
def traces_everything(call: Call) -> None:
    """Watches every function that is called."""
    sys.settrace(lambda *args: None)


@hostile("fail", "flush to zero", when=always, rules=STATE, others=VALUES)
def flushes_to_zero(call: Call) -> None:
    """Makes subnormal numbers zero."""
    torch.set_flush_denormal(True)


@hostile("fail", "function modes", when=always, rules=STATE, others=VALUES)
def function_mode_left(call: Call) -> Tensor:
    """Leaves a mode in force that sees every operation."""

    class Mode(torch.overrides.TorchFunctionMode):
        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            return func(*args, **(kwargs or {}))

    loss = call.loss()
    contextlib.ExitStack().enter_context(Mode())
    return loss
