"""Qualities of service: limits for the volumes of some types.

What is changed here holds for volumes that are made, retyped or plugged in from then on, as upstream has it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NotFound
from ostro.services.block.types import get_type
from ostro.store.database import Tx
from ostro.store.paging import Page, list_page
from ostro.store.qos_specs import QOS_SPECS, QosSpecs
from ostro.store.volume_types import VOLUME_TYPES, VolumeType

SPECS_MOST = 128


def get_qos(tx: Tx, context: Context, qos_id: str) -> QosSpecs:
    """One. Raises NotFound."""
    found = QOS_SPECS.find(tx, id=qos_id)
    if found is None:
        raise NotFound("qos specs", qos_id, f"No such QoS spec {qos_id}.")
    return found


def list_qos(tx: Tx, context: Context, page: Page) -> list[QosSpecs]:
    """A page of all."""
    return list_page(tx, QOS_SPECS, page)


def create_qos(tx: Tx, context: Context, name: str, consumer: str, specs: Mapping[str, str]) -> QosSpecs:
    """Make one. Raises Conflict when the name is taken, Invalid for too many."""
    if QOS_SPECS.find(tx, name=name) is not None:
        raise Conflict(f"QoS Specs {name} already exists.")
    _check(specs)
    return QOS_SPECS.insert(tx, QosSpecs(context.new_id(), name, consumer, dict(specs), context.now_us))


def _check(specs: Mapping[str, str]) -> None:
    if len(specs) > SPECS_MOST:
        raise Invalid(f"Invalid input received: at most {SPECS_MOST} specs are allowed.")


def update_qos(tx: Tx, context: Context, qos_id: str, consumer: str | None, specs: Mapping[str, str]) -> QosSpecs:
    """Add or change specs, and say who the consumer is. Raises NotFound, Invalid for too many."""
    found = get_qos(tx, context, qos_id)
    changed = msgspec.structs.replace(found, consumer=consumer or found.consumer, specs={**found.specs, **specs})
    _check(changed.specs)
    QOS_SPECS.update(tx, qos_id, consumer=changed.consumer, specs=changed.specs)
    return changed


def delete_keys(tx: Tx, context: Context, qos_id: str, keys: Collection[str]) -> None:
    """Remove specs, all or none. Raises NotFound."""
    found = get_qos(tx, context, qos_id)
    for key in keys:
        if key not in found.specs:
            raise NotFound("qos specs key", key, f"QoS Specs {qos_id} has no spec with key {key}.")
    QOS_SPECS.update(tx, qos_id, specs={name: value for name, value in found.specs.items() if name not in keys})


def delete_qos(tx: Tx, context: Context, qos_id: str, *, force: bool) -> None:
    """Remove one; with ``force`` also from the types that have it. Raises NotFound, Invalid."""
    get_qos(tx, context, qos_id)
    if not force and VOLUME_TYPES.list(tx, qos_specs_id=qos_id, limit=1):
        raise Invalid(f"QoS Specs {qos_id} is still associated with entities.")
    disassociate_all(tx, context, qos_id)
    QOS_SPECS.delete(tx, qos_id)


def list_associations(tx: Tx, context: Context, qos_id: str) -> list[VolumeType]:
    """The types that have it. Raises NotFound."""
    get_qos(tx, context, qos_id)
    return VOLUME_TYPES.list(tx, qos_specs_id=qos_id, order="name")


def associate(tx: Tx, context: Context, qos_id: str, type_id: str) -> None:
    """Have it hold for a type. Raises NotFound, Invalid for a type that has another."""
    get_qos(tx, context, qos_id)
    kind = get_type(tx, context, type_id)
    if kind.qos_specs_id not in ("", qos_id):
        raise Invalid(
            f"Invalid volume type: Type {kind.id} is already associated with another qos specs: {kind.qos_specs_id}."
        )
    VOLUME_TYPES.update(tx, kind.id, qos_specs_id=qos_id)


def disassociate(tx: Tx, context: Context, qos_id: str, type_id: str) -> None:
    """Have it no longer hold for a type; one that doesn't have it is left alone. Raises NotFound."""
    get_qos(tx, context, qos_id)
    kind = get_type(tx, context, type_id)
    if kind.qos_specs_id == qos_id:
        VOLUME_TYPES.update(tx, kind.id, qos_specs_id="")


def disassociate_all(tx: Tx, context: Context, qos_id: str) -> None:
    """Have it hold for no type. Raises NotFound."""
    get_qos(tx, context, qos_id)
    VOLUME_TYPES.update_where(tx, {"qos_specs_id": ""}, qos_specs_id=qos_id)
