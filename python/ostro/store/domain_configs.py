"""Configuration of single domains, as Identity keeps it: groups of options."""

from __future__ import annotations

from typing import Any

import msgspec

from ostro.store.database import Tx
from ostro.store.table import Table


class DomainConfig(msgspec.Struct, frozen=True):
    """All groups of a domain."""

    domain_id: str
    config: dict[str, dict[str, Any]]


DIRECTORIES_TOPIC = "directories"
"""Rung when it may have changed which domain has which directory."""
DOMAIN_CONFIGS = Table("domain_configs", DomainConfig, key="domain_id", noun="domain configuration")


def has_directory(tx: Tx, domain_id: str) -> bool:
    """Whether the domain's users live in a directory."""
    row = DOMAIN_CONFIGS.find(tx, domain_id=domain_id)
    return row is not None and row.config.get("identity", {}).get("driver") == "ldap"
