"""Identifiers: their forms, and how they are drawn."""

from __future__ import annotations

import random
import re
import uuid

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_uuid(rng: random.Random) -> str:
    """A version 4 UUID from ``rng``, so that a simulation can replay it."""
    return str(uuid.UUID(int=rng.getrandbits(128), version=4))


def new_hex(rng: random.Random) -> str:
    """The same without dashes: the form of Identity's ids."""
    return uuid.UUID(int=rng.getrandbits(128), version=4).hex


def is_uuid(text: str) -> bool:
    """Whether ``text`` is a lower-case UUID with dashes."""
    return _UUID.fullmatch(text) is not None
