"""Custom traits: those that an installation has made. The standard ones need no rows."""

from __future__ import annotations

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class CustomTrait(msgspec.Struct, frozen=True):
    """A trait whose name begins with ``CUSTOM_``."""

    name: str
    updated_at_us: int


CUSTOM_TRAITS = Table("custom_traits", CustomTrait, key="name", noun="trait")


def ensure_custom_trait(tx: Tx, name: str, now_us: int) -> bool:
    """Make the trait unless it is there; whether it was made."""
    return CUSTOM_TRAITS.insert_new(tx, CustomTrait(name, now_us))
