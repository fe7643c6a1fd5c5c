"""Resource classes: the standard ones and an installation's own."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.placement.errors import PlacementConflict, PlacementInvalid
from ostro.services.placement.names import STANDARD_CLASSES
from ostro.store.database import Tx
from ostro.store.inventories import has_inventory_of
from ostro.store.resource_classes import CUSTOM_RESOURCE_CLASSES, CustomResourceClass


def list_resource_classes(tx: Tx, context: Context) -> list[str]:
    """Every class, the standard ones first."""
    return [*STANDARD_CLASSES, *(row.name for row in CUSTOM_RESOURCE_CLASSES.list(tx, order="name"))]


def exists(tx: Tx, name: str) -> bool:
    """Whether there is such a class."""
    return name in STANDARD_CLASSES or CUSTOM_RESOURCE_CLASSES.find(tx, name=name) is not None


def check_resource_class(tx: Tx, context: Context, name: str) -> None:
    """Raise NotFound unless there is such a class."""
    if not exists(tx, name):
        raise NotFound("resource class", name, f"No such resource class: {name}")


def create_resource_class(tx: Tx, context: Context, name: str) -> bool:
    """Make a custom class; False if it was there."""
    return CUSTOM_RESOURCE_CLASSES.insert_new(tx, CustomResourceClass(name, context.now_us))


def create_new_resource_class(tx: Tx, context: Context, name: str) -> None:
    """Make a custom class. Raises a conflict if it was there."""
    if not create_resource_class(tx, context, name):
        raise PlacementConflict(f"Conflicting resource class already exists: {name}")


def rename_resource_class(tx: Tx, context: Context, old: str, new: str) -> None:
    """Change a custom class's name."""
    check_resource_class(tx, context, old)
    if old in STANDARD_CLASSES:
        raise PlacementInvalid(f"Cannot update standard resource class {old}")
    if exists(tx, new):
        raise PlacementConflict(f"Resource class already exists: {new}")
    if has_inventory_of(tx, old):
        raise PlacementConflict(f"Resource class {old} is in use in inventory.")
    CUSTOM_RESOURCE_CLASSES.update(tx, old, name=new, updated_at_us=context.now_us)


def delete_resource_class(tx: Tx, context: Context, name: str) -> None:
    """Remove a custom class that no provider has."""
    check_resource_class(tx, context, name)
    if name in STANDARD_CLASSES:
        raise PlacementInvalid(f"Error in delete resource class: Cannot delete standard resource class {name}")
    if has_inventory_of(tx, name):
        raise PlacementConflict(f"Error in delete resource class: Resource class {name} is in use in inventory.")
    CUSTOM_RESOURCE_CLASSES.delete(tx, name)
