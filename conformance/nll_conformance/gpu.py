"""A GPU works behind the caller's back, and one fault ends a process's use of it."""

from __future__ import annotations

import torch

from .foreign import text_of

#: What the allocator may keep for the next call, in bytes; the rest is for other processes.
_KEPT_BYTES = 2**30


def _in_use() -> bool:
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]  # torch has no types here


def wait() -> None:
    """Until all that was asked of the GPU is done; RuntimeError where some of it failed."""
    if _in_use():
        torch.cuda.synchronize()


def lost() -> bool:
    """Whether this process can use its GPU no more: a failed assertion or access is for ever.

    Too little memory is not.
    """
    try:
        wait()
    except RuntimeError as error:
        return "out of memory" not in str(error)
    return False


def full(error: BaseException) -> bool:
    """Whether a call failed for want of memory that this process does not hold itself."""
    if not _in_use():
        return False
    if not isinstance(error, torch.OutOfMemoryError) and "_ALLOC_FAILED" not in text_of(error):
        return False
    free, total = torch.cuda.mem_get_info()
    return free + torch.cuda.memory_reserved() < total // 2


def release() -> None:
    """Give back what the allocator keeps of large cases: several processes share a GPU."""
    if _in_use() and torch.cuda.memory_reserved() > _KEPT_BYTES and not lost():
        torch.cuda.empty_cache()


def exact_products(allowed: tuple[bool, bool] = (False, False)) -> None:
    """Sums of 16-bit products in float32; or ``allowed``, in 16 bits: (bfloat16, float16)."""
    matmul = torch.backends.cuda.matmul
    bfloat16, float16 = allowed
    matmul.allow_bf16_reduced_precision_reduction = bfloat16
    matmul.allow_fp16_reduced_precision_reduction = float16


def reduced_products() -> tuple[bool, bool]:
    """Whether sums of products may be in 16 bits: (bfloat16, float16)."""
    matmul = torch.backends.cuda.matmul
    return (
        bool(matmul.allow_bf16_reduced_precision_reduction),
        bool(matmul.allow_fp16_reduced_precision_reduction),
    )


def generators() -> list[torch.Tensor]:
    """The state of each GPU's random numbers; none where no GPU is in use."""
    if not _in_use() or lost():
        return []
    return torch.cuda.get_rng_state_all()


def set_generators(states: list[torch.Tensor]) -> None:
    """Put back what :func:`generators` gave."""
    if states and not lost():
        torch.cuda.set_rng_state_all(states)
