"""What lets packages written for GPUs, or for other packages, run where they are tested.

Each shim is from outside the package: nothing of its own code is changed.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from ..gpu import GPU

#: The declared caps of a Triton loss: its interpreter takes some milliseconds for each row.
CAPS: dict[str, Any] = {} if GPU else {"max_rows": 16, "max_elements": 70_000}
#: Those of a fused linear loss, whose interpreted product costs as much again.
LINEAR_CAPS: dict[str, Any] = {} if GPU else {"max_rows": 8, "max_elements": 20_000}


@cache
def triton_anywhere() -> None:
    """Let Triton kernels run here: by its interpreter where torch sees no GPU.

    To be called before a package that defines kernels is imported.
    """
    import torch

    if torch.cuda.is_available():
        return
    os.environ["TRITON_INTERPRET"] = "1"
    _complete_the_interpreter()


def _complete_the_interpreter() -> None:
    """Where Triton 3.9's interpreter is not as the compiler.

    A Python float that is passed to a kernel is a float32 scalar there, with methods; the
    interpreter leaves it a float.  ``libdevice`` functions have no body.  float32 is rounded
    to bfloat16, not truncated, and operations are on bfloat16 numbers, not on their bits.
    """
    import numpy as np
    import triton.language as tl
    from triton.language.extra import libdevice
    from triton.runtime import interpreter

    convert = interpreter._implicit_cvt  # noqa: SLF001 - the shim is about this very function

    def converted(argument: Any) -> Any:
        if type(argument) is float:
            value = interpreter.TensorHandle(np.array([argument], dtype=np.float32), tl.float32)
            return tl.tensor(value, tl.float32)
        return convert(argument)

    interpreter._implicit_cvt = converted  # noqa: SLF001 - likewise
    libdevice.tanh = _elementwise(np.tanh)
    libdevice.log1p = _elementwise(np.log1p)
    _mend_bfloat16(interpreter.InterpreterBuilder)
    _patch_once_a_launch(interpreter)


def _patch_once_a_launch(interpreter: Any) -> None:
    """Replace ``triton.language`` once for each launch, not for each call of a device function.

    The replacements last until the launch is over; making them again takes a third of the time.
    """
    import triton.language as tl

    patch, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__  # noqa: SLF001 - what is replaced
    patched: set[frozenset[int]] = set()

    def patch_lang(function: Any) -> Any:
        seen = function.__globals__.values()
        languages = frozenset(id(value) for value in seen if value is tl or value is tl.core)
        if languages in patched:
            return interpreter._LangPatchScope()  # noqa: SLF001 - nothing to be restored
        patched.add(languages)
        return patch(function)

    def launched(self: Any, *arguments: Any, **options: Any) -> Any:
        patched.clear()
        return launch(self, *arguments, **options)

    interpreter._patch_lang = patch_lang  # noqa: SLF001 - likewise
    interpreter.GridExecutor.__call__ = launched


def conjunction_at_once(combine: Any) -> None:
    """Let the interpreter reduce by ``combine(a, b) = a & b`` as NumPy does, not entry by entry."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return
    import numpy as np
    from triton.runtime.interpreter import ReduceOps

    apply = ReduceOps.apply_impl

    def apply_impl(self: Any, input: Any) -> Any:
        if self.combine_fn is combine:
            return self.min_max(input[0], val_reduce_op=np.min)
        return apply(self, input)

    ReduceOps.apply_impl = apply_impl


def _mend_bfloat16(builder: Any) -> None:
    import torch
    import triton.language as tl
    from triton.runtime.interpreter import TensorHandle

    cast, dot, binary = builder.cast_impl, builder.create_dot, builder.binary_op
    unary = builder.unary_op

    def widened(handle: Any) -> Any:
        bits = torch.from_numpy(handle.data.view("int16").copy())
        return TensorHandle(bits.view(torch.bfloat16).float().numpy(), tl.float32)

    def rounded(data: Any) -> Any:
        bits = torch.from_numpy(data.copy()).to(torch.bfloat16).view(torch.int16)
        return TensorHandle(bits.numpy().view("uint16"), tl.bfloat16)

    def cast_impl(self: Any, handle: Any, kind: Any) -> Any:
        source, target = handle.dtype.scalar, kind.scalar
        if source == target:
            return cast(self, handle, kind)
        if source == tl.bfloat16:
            return cast(self, widened(handle), kind)
        if target == tl.bfloat16:
            return rounded(handle.data.astype("float32"))
        return cast(self, handle, kind)

    def create_dot(self: Any, left: Any, right: Any, *rest: Any) -> Any:
        factors = (widened(f) if f.dtype.scalar == tl.bfloat16 else f for f in (left, right))
        return dot(self, *factors, *rest)

    def binary_op(self: Any, left: Any, right: Any, operation: Any) -> Any:
        if left.dtype.scalar != tl.bfloat16:
            return binary(self, left, right, operation)
        data = operation(widened(left).data, widened(right).data)
        return TensorHandle(data, tl.bfloat16) if data.dtype == bool else rounded(data)

    def unary_op(self: Any, argument: Any, operation: Any) -> Any:
        if argument.dtype.scalar != tl.bfloat16:
            return unary(self, argument, operation)
        return rounded(operation(widened(argument).data))

    builder.cast_impl, builder.create_dot = cast_impl, create_dot
    builder.binary_op, builder.unary_op = binary_op, unary_op


def _elementwise(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A ``libdevice`` function of the interpreter, by NumPy."""

    def computed(argument: Any) -> Any:
        import triton.language as tl
        from triton.runtime.interpreter import TensorHandle

        data = function(argument.handle.data)
        return tl.tensor(TensorHandle(data, argument.handle.dtype), argument.type)

    return computed


@cache
def torchvision_operators() -> None:
    """Declare the operators that torchvision registers from C++, where it cannot.

    A torchvision built for another torch (CUDA's, beside a CPU one) cannot load them, and its
    import fails where it registers their fakes.  No loss uses them.
    """
    import torch

    if importlib.util.find_spec("torchvision") is None:
        return
    try:
        importlib.import_module("torchvision")
    except RuntimeError:  # "operator torchvision::nms does not exist"
        pass
    else:
        return
    library: Any = cast(Any, torch.library.Library)("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _kept.append(library)


#: A library's definitions last as long as the object does.
_kept: list[Any] = []


def load_file(package: str, path: str, stubs: Mapping[str, Mapping[str, Any]]) -> ModuleType:
    """One file of an installed package, without importing the package.

    ``stubs`` are modules that the file finds while it is imported, with their contents.
    """
    spec = importlib.util.find_spec(package)
    assert spec is not None and spec.submodule_search_locations
    place = Path(next(iter(spec.submodule_search_locations))) / path
    name = ".".join([package, *Path(path).with_suffix("").parts])
    file_spec = importlib.util.spec_from_file_location(name, place)
    assert file_spec is not None and file_spec.loader is not None
    module = importlib.util.module_from_spec(file_spec)
    with _stubbed({**stubs, name: {}}):
        sys.modules[name] = module
        file_spec.loader.exec_module(module)
    return module


@contextmanager
def _stubbed(stubs: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    before = {name: sys.modules.get(name) for name in stubs}
    for name, contents in stubs.items():
        module = ModuleType(name)
        vars(module).update(contents)
        module.__path__ = []
        sys.modules[name] = module
    try:
        yield
    finally:
        for name, earlier in before.items():
            if earlier is None:
                sys.modules.pop(name, None)
            else:
                sys.modules[name] = earlier
