"""Kernels on PyTorch's own threads."""

from __future__ import annotations

import ctypes
import threading
from functools import cache
from pathlib import Path
from typing import Any

import torch


def run(kernel: Any, call_address: int) -> None:
    """Run a kernel on as many threads as ``torch.get_num_threads()`` says.

    The threads share the work out among themselves, row by row.  Where PyTorch's are OpenMP's,
    they are the same ones: others would compete with them, for they wait by spinning.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        kernel.ctypes(call_address)
        return
    parallel = _openmp()
    if parallel is not None:
        parallel(kernel.address, call_address, threads, 0)
        return
    others = [
        threading.Thread(target=kernel.ctypes, args=(call_address,)) for _ in range(threads - 1)
    ]
    for thread in others:
        thread.start()
    kernel.ctypes(call_address)
    for thread in others:
        thread.join()


@cache
def _openmp() -> Any:
    """``GOMP_parallel(function, data, threads, flags)`` of the library that PyTorch uses.

    Looked up through PyTorch's own library, whose dependencies the search includes; None where
    it has none (macOS, Windows).
    """
    library = Path(torch.__file__).parent / "lib" / "libtorch_cpu.so"
    try:
        parallel = ctypes.CDLL(str(library)).GOMP_parallel
    except (OSError, AttributeError):
        return None
    parallel.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint]
    parallel.restype = None
    return parallel
