"""Single-precision power, bit for bit as PyTorch computes it on x86 processors.

The converter raises a base to a tensor of exponents with PyTorch. Its result is not always the correctly
rounded one: blocks of elements go through the vector mathematics of SLEEF (`Sleef_powf16_u10`, which
works with pairs of floats and fused multiply-add), what is left of them through the C library's `powf`.
The polynomials are SLEEF's (Boost license, Copyright Naoki Shibata and contributors 2010-2025).
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

VECTOR_BLOCK = 32
"""Elements that PyTorch takes at once with AVX-512. (With AVX2 it is 16, which changes nothing for head
sizes that are multiples of 64.)"""

_Pair = tuple[float, float]
"""A number as the sum of two floats, the second much smaller."""
_LN2: _Pair = (0.69314718246459960938, -1.904654323148236017e-09)
_LN2_UPPER, _LN2_LOWER = 0.693145751953125, 1.428606765330187045e-06
_LOG_POLYNOMIAL = (0.240320354700088500976562, 0.285112679004669189453125, 0.400007992982864379882812)
_LOG_CUBIC: _Pair = (0.66666662693023681640625, 3.69183861259614332084311e-09)
_EXP_POLYNOMIAL = (
    0.00136324646882712841033936,
    0.00836596917361021041870117,
    0.0416710823774337768554688,
    0.166665524244308471679688,
    0.499999850988388061523438,
)


def torch_pow(base: float, exponents: list[float]) -> list[float]:
    """`base ** tensor` for a positive, finite float32 base. Every number in and out is a float32."""
    in_blocks = len(exponents) // VECTOR_BLOCK * VECTOR_BLOCK
    vectors = [_exp(_times(_log(base), e)) for e in exponents[:in_blocks]]
    # NumPy hands scalars (and only scalars) to the C library, too.
    return vectors + [float(np.float32(base) ** np.float32(e)) for e in exponents[in_blocks:]]


def _log(d: float) -> _Pair:
    """Natural logarithm (SLEEF's logkf)."""
    exponent = math.frexp(_float(d * _float(1 / 0.75)))[1] - 1
    mantissa = d / 2.0**exponent
    x = _divide(_sum(-1.0, mantissa), _sum(1.0, mantissa))
    x2 = _square(x)
    t = _polynomial(_LOG_POLYNOMIAL, x2[0])
    result = _times((_float(_LN2[0]), _float(_LN2[1])), float(exponent))
    result = _add(result, (x[0] * 2, x[1] * 2))
    cubic = (_float(_LOG_CUBIC[0]), _float(_LOG_CUBIC[1]))
    return _add(result, _multiply(_multiply(x2, x), _add(_times(x2, t), cubic)))


def _exp(d: _Pair) -> float:
    """Exponential of a pair (SLEEF's expkf)."""
    quotient = float(round(_float(_float(d[0] + d[1]) * _float(1 / math.log(2)))))
    s = _add(d, (_float(quotient * _float(-_LN2_UPPER)), 0.0))
    s = _add(s, (_float(quotient * _float(-_LN2_LOWER)), 0.0))
    s = _normalize(s)
    t = _add(s, _times(_square(s), _polynomial(_EXP_POLYNOMIAL, s[0])))
    high = _float(1.0 + t[0])
    low = _float(_float(_float(1.0 - high) + t[0]) + t[1])
    return _float(_float(high + low) * 2.0**quotient)


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    value = _float(coefficients[0])
    for coefficient in coefficients[1:]:
        value = _fused(value, x, _float(coefficient))
    return value


def _float(x: float) -> float:
    """To single precision. Exact for sums, products and quotients of floats that double precision rounded."""
    return float(np.float32(x))


def _fused(a: float, b: float, c: float) -> float:
    """a * b + c, rounded once."""
    exact = Fraction(a) * Fraction(b) + Fraction(c)
    if exact == 0:
        return 0.0
    exponent = abs(exact.numerator).bit_length() - exact.denominator.bit_length()
    if abs(exact) < Fraction(2) ** exponent:
        exponent -= 1
    step = Fraction(2) ** (exponent - 23)
    return float(round(exact / step) * step)


def _sum(x: float, y: float) -> _Pair:
    s = _float(x + y)
    v = _float(s - x)
    return s, _float(_float(x - _float(s - v)) + _float(y - v))


def _add(x: _Pair, y: _Pair) -> _Pair:
    s, error = _sum(x[0], y[0])
    return s, _float(error + _float(x[1] + y[1]))


def _normalize(x: _Pair) -> _Pair:
    s = _float(x[0] + x[1])
    return s, _float(_float(x[0] - s) + x[1])


def _times(x: _Pair, y: float) -> _Pair:
    s = _float(x[0] * y)
    return s, _fused(x[1], y, _fused(x[0], y, -s))


def _multiply(x: _Pair, y: _Pair) -> _Pair:
    s = _float(x[0] * y[0])
    return s, _fused(x[0], y[1], _fused(x[1], y[0], _fused(x[0], y[0], -s)))


def _square(x: _Pair) -> _Pair:
    s = _float(x[0] * x[0])
    return s, _fused(_float(x[0] + x[0]), x[1], _fused(x[0], x[0], -s))


def _divide(n: _Pair, d: _Pair) -> _Pair:
    t = _float(1.0 / d[0])
    s = _float(n[0] * t)
    u = _fused(t, n[0], -s)
    v = _fused(-d[1], t, _fused(-d[0], t, 1.0))
    return s, _fused(s, v, _fused(n[1], t, u))
