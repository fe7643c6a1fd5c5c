"""Custom resource classes: those that an installation has made. The standard ones need no rows."""

from __future__ import annotations

import msgspec

from ostro.store.table import Table


class CustomResourceClass(msgspec.Struct, frozen=True):
    """A resource class whose name begins with ``CUSTOM_``."""

    name: str
    updated_at_us: int


CUSTOM_RESOURCE_CLASSES = Table("custom_resource_classes", CustomResourceClass, key="name", noun="resource class")
