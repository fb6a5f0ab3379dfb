"""Numbers written for people: a few significant digits, and a unit where there is one."""

from __future__ import annotations

import math
from typing import Any

NONE = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3) -> str:
    """Three significant digits; very small and very large ones as a × 10ⁿ."""
    if value is None:
        return NONE
    if not math.isfinite(value):
        return "not a number" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    exponent = int(f"{value:.{digits - 1}e}".split("e")[1])  # that of the rounded value
    if exponent < -3 or exponent > 5:
        mantissa = f"{value:.{digits - 1}e}".split("e")[0].replace("-", "−")
        return f"{mantissa} × 10{str(exponent).translate(_SUPERSCRIPT)}"
    return f"{value:.{max(digits - 1 - exponent, 0)}f}".replace("-", "−")


def interval(low: float | None, high: float | None) -> str:
    """A 95 % interval, or nothing where the figure has none."""
    return "" if low is None or high is None else f"{number(low)} to {number(high)}"


def percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def count(value: Any) -> str:
    """12345 → 12 345 (with a thin space, as no language reads it as a decimal point)."""
    return NONE if value is None else f"{int(value):,}".replace(",", "\u202f")


def duration(seconds: float | None) -> str:
    if seconds is None:
        return NONE
    if seconds < 120:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(number_of_bytes: float | None) -> str:
    """Bytes in decimal units, as disks are sold and files are listed."""
    if number_of_bytes is None:
        return NONE
    value = float(number_of_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
