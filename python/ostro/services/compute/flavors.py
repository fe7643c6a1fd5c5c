"""Flavors: made by administrators, seen by the projects that may use them. They never change but for description and extra specs."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, NotFound
from ostro.store.database import Tx
from ostro.store.flavors import (
    FLAVORS,
    VISIBLE_TO,
    Flavor,
    add_access,
    has_access,
    list_access,
    remove_access,
)
from ostro.store.paging import Filter, Page, Where, list_page


class NewFlavor(msgspec.Struct, frozen=True):
    """What a flavor is made from. An empty ``id`` means "choose"."""

    id: str
    name: str
    ram_mb: int
    vcpus: int
    disk_gb: int
    ephemeral_gb: int = 0
    swap_mb: int = 0
    rxtx_factor: float = 1.0
    is_public: bool = True
    description: str | None = None


def get_flavor(tx: Tx, context: Context, flavor_id: str) -> Flavor:
    """A flavor that the actor may use. Raises NotFound with Compute's words."""
    flavor = FLAVORS.find(tx, id=flavor_id)
    visible = flavor is not None and (
        flavor.is_public or context.is_admin or has_access(tx, flavor_id, context.project_id)
    )
    if flavor is None or not visible:
        raise NotFound("flavor", flavor_id, f"Flavor {flavor_id} could not be found.")
    return flavor


def foresee_flavor(tx: Tx, flavor_id: str) -> None:
    """``get_flavor`` will be called (``Tx.foresee``)."""
    FLAVORS.foresee(tx, id=flavor_id)


def list_flavors(tx: Tx, context: Context, page: Page, is_public: bool | None) -> list[Flavor]:
    """A page of flavors: public ones (True), others (False) or both (None). Who isn't an administrator sees those it may use."""
    if not context.is_admin:
        page = page.with_filters(Where(VISIBLE_TO, (context.project_id,)))
    elif is_public is not None:
        page = page.with_filters(Filter("is_public", is_public))
    return list_page(tx, FLAVORS, page)


def create_flavor(tx: Tx, context: Context, new: NewFlavor) -> Flavor:
    """Make a flavor. Raises Conflict when its name or id is taken."""
    if FLAVORS.find(tx, name=new.name):
        raise Conflict(f"Flavor with name {new.name} already exists.")
    flavor_id = new.id or context.new_id()
    if FLAVORS.find(tx, id=flavor_id):
        raise Conflict(f"Flavor with ID {flavor_id} already exists.")
    fields = {name: getattr(new, name) for name in NewFlavor.__struct_fields__ if name != "id"}
    return FLAVORS.insert(
        tx, Flavor(id=flavor_id, extra_specs={}, created_at_us=context.now_us, updated_at_us=0, **fields)
    )


def update_flavor(tx: Tx, context: Context, flavor_id: str, description: str | None) -> Flavor:
    """Change the description."""
    get_flavor(tx, context, flavor_id)
    FLAVORS.update(tx, flavor_id, description=description, updated_at_us=context.now_us)
    return FLAVORS.get(tx, flavor_id)


def delete_flavor(tx: Tx, context: Context, flavor_id: str) -> None:
    """Remove a flavor; servers keep what they were made from."""
    get_flavor(tx, context, flavor_id)
    FLAVORS.delete(tx, flavor_id)


def set_extra_specs(tx: Tx, context: Context, flavor_id: str, specs: Mapping[str, str]) -> dict[str, str]:
    """Add or change extra specs; all of them as they are now."""
    merged = {**get_flavor(tx, context, flavor_id).extra_specs, **specs}
    FLAVORS.update(tx, flavor_id, extra_specs=merged, updated_at_us=context.now_us)
    return merged


def get_extra_spec(tx: Tx, context: Context, flavor_id: str, key: str) -> str:
    """One extra spec. Raises NotFound."""
    specs = get_flavor(tx, context, flavor_id).extra_specs
    if key not in specs:
        raise NotFound("extra spec", key, f"Flavor {flavor_id} has no extra specs with key {key}.")
    return specs[key]


def delete_extra_spec(tx: Tx, context: Context, flavor_id: str, key: str) -> None:
    """Remove one extra spec. Raises NotFound."""
    get_extra_spec(tx, context, flavor_id, key)
    left = {k: v for k, v in get_flavor(tx, context, flavor_id).extra_specs.items() if k != key}
    FLAVORS.update(tx, flavor_id, extra_specs=left, updated_at_us=context.now_us)


def list_flavor_access(tx: Tx, context: Context, flavor_id: str) -> list[str]:
    """Projects with access to a flavor that is not public. Raises NotFound for a public one."""
    if get_flavor(tx, context, flavor_id).is_public:
        raise NotFound("access list", flavor_id, "Access list not available for public flavors.")
    return list_access(tx, flavor_id)


def add_flavor_access(tx: Tx, context: Context, flavor_id: str, project_id: str) -> list[str]:
    """Give a project access. Raises Conflict when it has it, or everybody has."""
    if get_flavor(tx, context, flavor_id).is_public:
        raise Conflict("Can not add access to a public flavor.")
    if not add_access(tx, flavor_id, project_id):
        raise Conflict(f"Flavor access already exists for flavor {flavor_id} and project {project_id} combination.")
    return list_access(tx, flavor_id)


def remove_flavor_access(tx: Tx, context: Context, flavor_id: str, project_id: str) -> list[str]:
    """Take access away. Raises NotFound when the project hasn't got it."""
    get_flavor(tx, context, flavor_id)
    if not remove_access(tx, flavor_id, project_id):
        raise NotFound(
            "flavor access",
            project_id,
            f"Flavor access not found for {flavor_id} / {project_id} combination.",
        )
    return list_access(tx, flavor_id)
