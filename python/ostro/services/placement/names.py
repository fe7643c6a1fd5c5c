"""Names that need no rows: the standard traits and resource classes, and the form of an installation's own."""

from __future__ import annotations

import re

import os_resource_classes  # type: ignore[import-untyped]
import os_traits  # type: ignore[import-untyped]

STANDARD_TRAITS: frozenset[str] = frozenset(os_traits.get_traits())
STANDARD_CLASSES: tuple[str, ...] = tuple(os_resource_classes.STANDARDS)
CUSTOM = re.compile(r"CUSTOM_[A-Z0-9_]+")
OWN = "CUSTOM_OSTRO_"
"""Custom traits that begin so are what hosts say of themselves, and go when they no longer do."""
DISABLED = "COMPUTE_STATUS_DISABLED"
"""On the provider of a host that takes no new servers."""
SHARING = "MISC_SHARES_VIA_AGGREGATE"
"""On a provider whose inventory is used by those that are in an aggregate with it."""
