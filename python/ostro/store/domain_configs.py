"""Configuration of single domains, as Identity keeps it: groups of options."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.table import Table


class DomainConfig(msgspec.Struct, frozen=True):
    """All groups of a domain."""

    domain_id: str
    config: dict[str, dict[str, Any]]


DOMAIN_CONFIGS = Table("domain_configs", DomainConfig, key="domain_id", noun="domain configuration")
