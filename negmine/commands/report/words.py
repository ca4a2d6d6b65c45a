"""Numbers and names as the page tells them, and texts made safe to look at."""

from __future__ import annotations

import unicodedata
from typing import Any

_BIDI = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def safe(text: str, most: int | None = None) -> str:
    """``text`` without characters that act on what shows it, cut after ``most`` of them.

    Control characters and marks that turn the direction of their surroundings are written as
    escapes; letters of any script stay. Escaping for HTML is the template's work.
    """
    cut = most is not None and len(text) > most
    shown = text[:most] if cut else text
    # What can be printed does not act: most texts need no look at each letter.
    if not shown.replace("\n", " ").isprintable():
        shown = "".join(
            char if char in "\n\t" or not _acts(char) else char.encode("unicode_escape").decode()
            for char in shown
        )
    return shown.rstrip() + "…" if cut else shown


def _acts(char: str) -> bool:
    code = ord(char)
    kind = unicodedata.category(char)
    noncharacter = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return kind in ("Cc", "Cs", "Zl", "Zp") or code in _BIDI or code == 0xFEFF or noncharacter


def number(value: float | int | None) -> str:
    """A count with separators, another number with four significant digits."""
    if value is None:
        return "–"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    shown = f"{value:.4g}" if abs(value) < 1e5 else f"{value:,.0f}"
    return shown.replace("-", "−")


def percent(part: float, whole: float) -> str:
    """A share in percent; a share too small to show is not told as none."""
    if not whole:
        return "–"
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1%"
    if 99.9 < share < 100:
        return "> 99.9%"
    return f"{share:.1f}%"


def size(count: float | None) -> str:
    """Bytes as people say them."""
    if count is None:
        return "–"
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} GiB"


def setting(value: Any) -> str:
    """A parameter's value."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    if isinstance(value, dict):
        return ", ".join(f"{name}={setting(one)}" for name, one in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
