"""Numbers as the bits they are stored in, for kernels that take every dtype.

A kernel sees a tensor as integers of its width: float32 as int32, float64 as int64, bfloat16 as
int16, float16 as uint16.  It computes in float32, or in float64 for float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic as _intrinsic
from numba.extending import overload as _overload

F = TypeVar("F", bound=Callable[..., Any])


def jit(*, reorder: bool = False, **options: Any) -> Callable[[F], F]:
    """Compile a function when it is first called, and keep the machine code on disk.

    ``reorder`` lets sums be taken in any order, which is what allows vectors of partial sums.
    The function becomes part of what calls it: a call, with the counting of who holds its
    arrays, costs as much as a row of 64 classes.  Where nothing can be written beside the source
    nor in the user's cache, each process compiles anew.
    """
    fastmath = {"contract", "nsz", "reassoc"} if reorder else {"contract"}
    options = {
        "error_model": "numpy",
        "fastmath": fastmath,
        "nogil": True,
        "forceinline": True,
        **options,
    }

    def compile_(function: F) -> F:
        compiled: F
        try:
            compiled = numba.njit(cache=True, **options)(function)
        except RuntimeError:  # "cannot cache function: no locator available"
            compiled = numba.njit(**options)(function)
        return compiled

    return compile_


def intrinsic(function: Callable[..., Any]) -> Callable[..., Any]:
    """``numba.extending.intrinsic`` with a type."""
    made: Callable[..., Any] = _intrinsic(function)
    return made


def overloads(function: Callable[..., Any]) -> Callable[[F], F]:
    """``numba.extending.overload`` with a type: the code of ``function`` for given types."""
    told: Callable[[F], F] = _overload(function)
    return told


_INT16, _INT32, _INT64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)
_HALF, _FLOAT, _DOUBLE = ir.HalfType(), ir.FloatType(), ir.DoubleType()


def _wide(bits: Any) -> Any:
    return types.float64 if bits == types.int64 else types.float32


@intrinsic
def widen(typing: Any, bits: Any) -> Any:
    """The number behind the bits, in float32 (float64 for 64 bits)."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (value,) = arguments
        if bits == types.int64:
            return builder.bitcast(value, _DOUBLE)
        if bits == types.int32:
            return builder.bitcast(value, _FLOAT)
        if bits == types.int16:
            shifted = builder.shl(builder.zext(value, _INT32), _INT32(16))
            return builder.bitcast(shifted, _FLOAT)
        return builder.fpext(builder.bitcast(value, _HALF), _FLOAT)

    return _wide(bits)(bits), build


@intrinsic
def narrow(typing: Any, value: Any, like: Any) -> Any:
    """The bits of a number, rounded to nearest even, in the format of the bits ``like``."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = arguments[0]
        if like == types.int64:
            return builder.bitcast(number, _INT64)
        if like == types.int32:
            return builder.bitcast(number, _INT32)
        if like == types.uint16:
            return builder.bitcast(builder.fptrunc(number, _HALF), _INT16)
        # A NaN's low 16 bits are zero here or the default's, so that no carry makes it finite.
        whole = builder.bitcast(number, _INT32)
        odd = builder.and_(builder.lshr(whole, _INT32(16)), _INT32(1))
        rounded = builder.add(builder.add(whole, _INT32(0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, _INT32(16)), _INT16)

    return like(_wide(like), like), build


@intrinsic
def signed(typing: Any, bits: Any) -> Any:
    """The bits as a signed integer of their width."""
    to = types.int16 if bits == types.uint16 else bits
    return to(bits), lambda context, builder, signature, arguments: arguments[0]


@intrinsic
def same_bits(typing: Any, key: Any, like: Any) -> Any:
    """The integer as bits of the same kind as ``like``; undoes :func:`signed`."""
    return like(key, like), lambda context, builder, signature, arguments: arguments[0]


@intrinsic
def zero(typing: Any, bits: Any) -> Any:
    """0.0 in the dtype that the bits are computed in."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.get_constant(signature.return_type, 0.0)

    return _wide(bits)(bits), build


@intrinsic
def as_wide(typing: Any, number: Any, like: Any) -> Any:
    """A number rounded to the dtype of the number ``like``."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.cast(builder, arguments[0], number, like)

    return like(number, like), build


@intrinsic
def _power_of_two(typing: Any, shifted: Any) -> Any:
    """2**n, where ``shifted`` is n + 1.5 * 2**(bits of the mantissa)."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        double = shifted == types.float64
        whole, digits, bias = (_INT64, 52, 1023) if double else (_INT32, 23, 127)
        count = builder.shl(builder.bitcast(arguments[0], whole), whole(digits))
        power = builder.add(count, whole(bias << digits))
        return builder.bitcast(power, _DOUBLE if double else _FLOAT)

    return shifted(shifted), build


@intrinsic
def _times_plus(typing: Any, x: Any, factor: Any, summand: Any) -> Any:
    """The sum of x * factor and a summand, rounded once where the processor can."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind = arguments[0].type
        name = "llvm.fmuladd.f64" if x == types.float64 else "llvm.fmuladd.f32"
        wanted = ir.FunctionType(kind, [kind] * 3)
        fused = cgutils.get_or_insert_function(builder.module, wanted, name)
        return builder.call(fused, arguments)

    return x(x, factor, summand), build


@intrinsic
def pointer(typing: Any, address: Any) -> Any:
    """An address as the pointer that ``numba.carray`` takes."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())

    return types.voidptr(address), build


@intrinsic
def fetch(typing: Any, address: Any) -> Any:
    """Ask memory for the cache line at an address, which need not exist."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.inttoptr(arguments[0], ir.IntType(8).as_pointer())
        wanted = ir.FunctionType(ir.VoidType(), [place.type] + [_INT32] * 3)
        prefetch = cgutils.get_or_insert_function(builder.module, wanted, "llvm.prefetch.p0")
        builder.call(prefetch, [place, _INT32(0), _INT32(3), _INT32(1)])
        return context.get_dummy_value()

    return types.void(types.int64), build


@intrinsic
def fetch_add(typing: Any, address: Any, amount: Any) -> Any:
    """The int64 at an address, to which ``amount`` is added in the same instant."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        counter = builder.inttoptr(arguments[0], _INT64.as_pointer())
        return builder.atomic_rmw("add", counter, arguments[1], "monotonic")

    return types.int64(types.int64, types.int64), build


#: 2**r for |r| <= 1/2: minimax polynomials of e**y (Remez, weighted for relative error) of degree
#: 6 (error 1.9e-9) and 11 (3.1e-18), in y = r ln 2.
_IN_Y_32 = (
    1.0000000005541647,
    1.0000000363230943,
    0.499999920798404,
    0.1666642017026965,
    0.041668225566092766,
    0.008374815778155631,
    0.0013836846136895651,
)
_IN_Y_64 = (
    1.0,
    1.0,
    0.5000000000000018,
    0.1666666666666617,
    0.04166666666649277,
    0.008333333333559253,
    0.0013888888951223825,
    0.00019841269432715298,
    2.480148652158092e-05,
    2.7557622499311845e-06,
    2.763229322970563e-07,
    2.4994314816236953e-08,
)
_C32 = tuple(np.float32(c * math.log(2.0) ** k) for k, c in enumerate(_IN_Y_32))
_C64 = tuple(c * math.log(2.0) ** k for k, c in enumerate(_IN_Y_64))
_LOG2_E_32, _LOG2_E_64 = np.float32(1.0 / math.log(2.0)), 1.0 / math.log(2.0)
#: Adding and subtracting 1.5 * 2**(bits of the mantissa) rounds to a whole number.
_ROUNDER_32, _ROUNDER_64 = np.float32(1.5 * 2.0**23), 1.5 * 2.0**52
#: Where exp leaves the normal numbers; -88 and -709 give 2**-127 and 2**-1023, which come as 0.
_MOST_32, _MOST_64 = np.float32(88.0), 709.0
_LEAST_32, _LEAST_64 = np.float32(-88.0), -709.0


@jit()
def _between(x: Any, least: Any, most: Any) -> Any:
    # A NaN fails both comparisons and is returned; max and min promise no such thing.
    x = least if x < least else x  # noqa: FURB136 - max may lose a NaN
    return most if x > most else x  # noqa: FURB136 - min may lose a NaN


@jit()
def _exp32(x: Any) -> Any:
    x = _between(x, _LEAST_32, _MOST_32)
    shifted = x * _LOG2_E_32 + _ROUNDER_32
    r = _times_plus(x, _LOG2_E_32, _ROUNDER_32 - shifted)
    p = _C32[6]
    p = p * r + _C32[5]
    p = p * r + _C32[4]
    p = p * r + _C32[3]
    p = p * r + _C32[2]
    p = p * r + _C32[1]
    p = p * r + _C32[0]
    # A product, not a sum of exponents: so a NaN stays one.
    return p * _power_of_two(shifted)


@jit()
def _exp64(x: Any) -> Any:
    x = _between(x, _LEAST_64, _MOST_64)
    shifted = x * _LOG2_E_64 + _ROUNDER_64
    r = _times_plus(x, _LOG2_E_64, _ROUNDER_64 - shifted)
    p = _C64[11]
    p = p * r + _C64[10]
    p = p * r + _C64[9]
    p = p * r + _C64[8]
    p = p * r + _C64[7]
    p = p * r + _C64[6]
    p = p * r + _C64[5]
    p = p * r + _C64[4]
    p = p * r + _C64[3]
    p = p * r + _C64[2]
    p = p * r + _C64[1]
    p = p * r + _C64[0]
    return p * _power_of_two(shifted)


def exp(x: Any) -> Any:
    """e**x between e**-88 and e**88 (709 in float64), the latter above, 0 below; NaN of NaN.

    Error: 0.3 u |x| relative from the digits of log2(e), 1.5 u |x| on a processor that cannot round
    a product and a sum once, and some roundoffs u of the polynomial.
    """
    raise TypeError("for compiled functions only")


@overloads(exp)
def _exp_of(x: Any) -> Any:
    def single(x: Any) -> Any:
        return _exp32(x)

    def double(x: Any) -> Any:
        return _exp64(x)

    return single if x == types.float32 else double
