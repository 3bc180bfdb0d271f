"""Unsloth: its Triton cross entropy of a language model, from the one file it stands in."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from ..gpu import GPU
from ._package import from_package
from ._shims import CAPS, load_file, triton_anywhere

if TYPE_CHECKING:
    from torch import Tensor

_FUSED = 65536  # unsloth.kernels.utils.MAX_FUSED_SIZE


def load() -> Callable[..., Any]:
    """``fast_cross_entropy_loss``, of one sequence, without importing the package.

    ``import unsloth`` raises where it finds no GPU.  Its unreduced form is the autograd
    function that it calls, its sum that with ``n_items=1``.
    """
    triton_anywhere()
    module = load_file("unsloth", "kernels/cross_entropy_loss.py", _neighbours())

    def unsloth(input: Tensor, target: Tensor, reduction: str = "mean") -> Any:
        if reduction == "none":
            return module.Fast_CrossEntropyLoss.apply(input, target)
        count = {"mean": None, "sum": 1}[reduction]
        return module.fast_cross_entropy_loss(input[None], target[None], n_items=count)

    return unsloth


def _neighbours() -> dict[str, dict[str, Any]]:
    """The modules that the file imports names from, and these names."""
    import triton
    import triton.language as tl
    from triton.language.extra import libdevice

    def settings(size: int) -> tuple[int, int]:
        block = triton.next_power_of_2(size)
        # As its own, and any number for the interpreter, which has no warps.
        return block, 4 if block < 2048 else 8 if block < 8192 else 16 if block < 32768 else 32

    def cast(value: Any, dtype: Any) -> Any:
        return tl.cast(value, dtype)  # by its place: the interpreter replaces it there

    return {
        "unsloth": {},
        "unsloth.kernels": {},
        "unsloth.kernels.utils": {
            "MAX_FUSED_SIZE": _FUSED,
            "calculate_settings": settings,
            "is_cdna": lambda: False,
            "torch_gpu_device": lambda device: nullcontext(),
            "triton_cast": tl.cast if GPU else cast,
            "triton_tanh": libdevice.tanh,
        },
        "unsloth.kernels.rope_embedding": {"_eviction_hints_ok": lambda device: False},
        "transformers": {},
        "transformers.models": {},
        "transformers.models.llama": {},
        "transformers.models.llama.modeling_llama": {"logger": None},
        "unsloth_zoo": {},
        "unsloth_zoo.utils": {"Version": _version},
        "unsloth_zoo.loss_utils": {"patch_loss_functions": None, "post_patch_loss_function": None},
    }


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.partition("+")[0].split(".")[:2])


IMPLEMENTATIONS = (
    from_package(
        "unsloth",
        load,
        distribution="unsloth",
        requires=("unsloth", "triton"),
        lacks=("spatial", "unbatched", "soft_target"),
        divergences={"half_output": "float32", "all_ignored_mean": "zero", "empty_mean": "zero"},
        precision="fp32_inside",
        dtypes=("float32", "bfloat16", "float16"),  # the kernels compute in float32
        **CAPS,
        url="https://github.com/unslothai/unsloth/blob/main/unsloth/kernels/cross_entropy_loss.py",
    ),
)
