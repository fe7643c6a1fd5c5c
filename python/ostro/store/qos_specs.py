"""Qualities of service: what volumes of some types are limited to, and by whom."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class QosSpecs(msgspec.Struct, frozen=True):
    """Limits by name. ``consumer`` says who holds volumes to them: front-end (the hypervisor), back-end (the storage) or both."""

    id: str
    name: str
    consumer: str
    specs: dict[str, str]
    created_at_us: int


QOS_SPECS = Table("qos_specs", QosSpecs, noun="qos specs")
