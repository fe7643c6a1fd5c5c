"""Numbers in clients' text."""

from __future__ import annotations

DIGITS_MOST = 18
"""Whatever has so few fits a database's integers."""


def whole_number(text: str) -> int | None:
    """What plain digits say; None for anything else: signs, other scripts' digits, and more than anybody has of anything."""
    return int(text) if len(text) <= DIGITS_MOST and text.isascii() and text.isdigit() else None
