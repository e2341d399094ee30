"""TFLite's fixed-point arithmetic, as far as it is known before a sentence comes: multipliers and tables.

What depends on the sentence is in firmware/agent/encoder.c. Sources: quantization_util.cc, add_common.cc, softmax.h and
gemmlowp's fixedpoint.h, all of TFLite Micro. Arrays are int64, wide enough for any product.
"""

from __future__ import annotations

import math

import numpy as np

from train.errors import UserError

INT32_MAX = 2**31 - 1


def quantize_multiplier(scale: float) -> tuple[int, int]:
    """QuantizeMultiplier: a scale as a significand in Q0.31 and a power of two, -31 … 0.

    Raises:
        UserError: the scale is 1 or more, which the firmware does not take.
    """
    significand, exponent = math.frexp(scale)
    fixed = math.floor(significand * 2**31 + 0.5)
    if fixed == 2**31:
        fixed, exponent = fixed // 2, exponent + 1
    if exponent < -31:
        return 0, 0
    if exponent > 0:
        raise UserError(f"an activation's scale is {scale:.3g} times finer than its input; its range must be wider")
    return fixed, exponent


def high_mul(a: np.ndarray, b: int | np.ndarray) -> np.ndarray:
    """SaturatingRoundingDoublingHighMul for operands that cannot saturate: round(a b / 2**31)."""
    return (np.asarray(a, np.int64) * b + 2**30) >> 31


def rounding_shift(x: np.ndarray, exponent: int) -> np.ndarray:
    """RoundingDivideByPOT: x / 2**exponent, halves away from zero."""
    if exponent == 0:
        return x
    return np.asarray((x + 2 ** (exponent - 1) - (x < 0)) >> exponent)


def requantize(x: np.ndarray, scale: tuple[int, int]) -> np.ndarray:
    """MultiplyByQuantizedMultiplier with double rounding."""
    return rounding_shift(high_mul(x, scale[0]), -scale[1])


def product_scale(a: float, b: float, output: float) -> float:
    """GetQuantizedConvolutionMultipler, PopulateConvolutionQuantizationParams: the scale of a product of two tensors.

    The tensors' scales are single precision, but their product is taken in double precision.
    """
    return a * b / output


def sum_multipliers(a: float, b: float, output: float) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """CalculateOpDataAdd: the multipliers of both operands and of their sum, from the scales."""
    twice = 2 * max(a, b)
    return quantize_multiplier(a / twice), quantize_multiplier(b / twice), quantize_multiplier(twice / (2**20 * output))


def add(a: np.ndarray, b: np.ndarray, scales: tuple[float, float, float], zeros: tuple[int, int, int]) -> np.ndarray:
    """ADD of int8 values."""
    first, second, out = sum_multipliers(*scales)
    shifted = [(np.asarray(x, np.int64) - zero) << 20 for x, zero in ((a, zeros[0]), (b, zeros[1]))]
    total = requantize(shifted[0], first) + requantize(shifted[1], second)
    return np.asarray(np.clip(requantize(total, out) + zeros[2], -128, 127))


def exponentials(scale: float) -> np.ndarray:
    """exp(-d scale) in Q0.31 for d = 0 … 255 as int8 SOFTMAX takes it, 0 where it cuts off."""
    multiplier = min(scale * 2**26, INT32_MAX)
    significand, exponent = math.frexp(multiplier)
    fixed = math.floor(significand * 2**31 + 0.5)
    if fixed == 2**31:
        fixed, exponent = fixed // 2, exponent + 1
    radius = math.floor(31 * 2**26 / 2**exponent)
    d = np.arange(256, dtype=np.int64)
    values = _exp_on_negative_values(high_mul(-d << exponent, fixed))
    return np.where(d <= radius, values, 0)


def _exp_on_negative_values(a: np.ndarray) -> np.ndarray:
    """gemmlowp exp_on_negative_values, Q5.26 to Q0.31."""
    quarter = 1 << 24
    remainder_in = (a & (quarter - 1)) - quarter
    result = _exp_between_negative_quarter_and_zero(remainder_in << 5)
    remainder = remainder_in - a
    steps = ((-2, 1672461947), (-1, 1302514674), (0, 790015084), (1, 290630308), (2, 39332535), (3, 720401), (4, 242))
    for exponent, factor in steps:
        result = np.where(remainder & (1 << (26 + exponent)), high_mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def _exp_between_negative_quarter_and_zero(a: np.ndarray) -> np.ndarray:
    """gemmlowp exp_on_interval_between_negative_one_quarter_and_0_excl, Q0.31: Taylor's series around -1/8."""
    x = a + (1 << 28)
    x2 = high_mul(x, x)
    x3 = high_mul(x2, x)
    x4 = high_mul(x2, x2)
    third = high_mul(rounding_shift(x4, 2) + x3, 715827883)
    series = rounding_shift(third + x2, 1)
    exp_of_eighth = 1895147668
    return exp_of_eighth + high_mul(x + series, exp_of_eighth)
