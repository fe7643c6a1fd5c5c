"""Identifiers: their forms, and how they are drawn."""

from __future__ import annotations

import random
import re

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_VERSION_4 = 0x8000 << 48 | 4 << 76
_RANDOM = ~(0xC000 << 48 | 0xF000 << 64)
"""What is random of a version 4 UUID (RFC 9562)."""


def new_uuid(rng: random.Random) -> str:
    """A version 4 UUID from ``rng``, so that a simulation can replay it."""
    text = new_hex(rng)
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def new_hex(rng: random.Random) -> str:
    """The same without dashes: the form of Identity's ids."""
    return f"{rng.getrandbits(128) & _RANDOM | _VERSION_4:032x}"


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a lower-case UUID with dashes."""
    return _UUID.fullmatch(text) is not None
