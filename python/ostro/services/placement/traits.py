"""Traits: the standard ones (the os-traits library's) and an installation's own, which begin with ``CUSTOM_``."""

from __future__ import annotations

import re

import os_traits  # type: ignore[import-untyped]

STANDARD: frozenset[str] = frozenset(os_traits.get_traits())
CUSTOM = re.compile(r"CUSTOM_[A-Z0-9_]+")
DISABLED = "COMPUTE_STATUS_DISABLED"
"""On the provider of a host that takes no new servers."""
