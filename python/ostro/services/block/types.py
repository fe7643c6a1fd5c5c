"""Volume types: names for kinds of storage.

A type says which kind it is by the extra spec ``volume_backend_name``: ``local`` (files on the disks of the volume's host, also when it says nothing) or
``ceph``. Administrators add others by name, also such that only some projects may use. A cloud that has Ceph has the type ``ceph``, and that is then
the default.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from ostro.model.context import Context
from ostro.model.errors import Conflict, Invalid, NotFound
from ostro.model.volumes import CEPH, LOCAL
from ostro.store.database import Tx
from ostro.store.paging import Filter, Page, Where, list_page
from ostro.store.qos_specs import QOS_SPECS, QosSpecs
from ostro.store.snapshots import SNAPSHOTS
from ostro.store.volume_types import (
    VISIBLE_TO,
    VOLUME_TYPES,
    VolumeType,
    add_access,
    has_access,
    list_access,
    remove_access,
)
from ostro.store.volumes import VOLUMES

DEFAULT_TYPE = LOCAL
BACKEND_SPEC = "volume_backend_name"
SPECS_MOST = 256
CEPH_TYPE = VolumeType(
    id="63657068-0000-4000-8000-000000000001",
    name=CEPH,
    description="RBD in Ceph, for servers on any host",
    is_public=True,
    extra_specs={BACKEND_SPEC: CEPH},
    created_at_us=0,
)


def ensure_ceph_type(tx: Tx, now_us: int) -> None:
    """Have the type of volumes in Ceph."""
    if VOLUME_TYPES.find(tx, id=CEPH_TYPE.id) is None and VOLUME_TYPES.find(tx, name=CEPH) is None:
        VOLUME_TYPES.insert(tx, msgspec.structs.replace(CEPH_TYPE, created_at_us=now_us))


def backend_of(kind: VolumeType) -> str:
    """The kind of storage that the type stands for."""
    return kind.extra_specs.get(BACKEND_SPEC) or LOCAL


def qos_of(tx: Tx, kind: VolumeType) -> QosSpecs | None:
    """What volumes of the type are limited to, if anything."""
    return QOS_SPECS.find(tx, id=kind.qos_specs_id) if kind.qos_specs_id else None


def get_default_type(tx: Tx, context: Context) -> VolumeType:
    """The type of a volume that asks for none."""
    found = VOLUME_TYPES.find(tx, name=CEPH) or VOLUME_TYPES.find(tx, name=DEFAULT_TYPE)
    assert found is not None, "the migrations make it, and it can't be deleted or renamed"
    return found


def get_type(tx: Tx, context: Context, id_or_name: str) -> VolumeType:
    """A type by id or name, if whoever asks may use it. Raises NotFound."""
    found = VOLUME_TYPES.find(tx, id=id_or_name) or VOLUME_TYPES.find(tx, name=id_or_name)
    usable = found is not None and (found.is_public or context.is_admin or has_access(tx, found.id, context.project_id))
    if found is None or not usable:
        raise NotFound("volume type", id_or_name, f"Volume type {id_or_name} could not be found.")
    return found


def list_types(tx: Tx, context: Context, page: Page, *, is_public: bool | None = None) -> list[VolumeType]:
    """A page of the types: public ones (True), others (False) or both (None). Who isn't an administrator sees those it may use."""
    if not context.is_admin:
        page = page.with_filters(Where(VISIBLE_TO, (context.project_id,)))
    elif is_public is not None:
        page = page.with_filters(Filter("is_public", is_public))
    return list_page(tx, VOLUME_TYPES, page)


def create_type(
    tx: Tx, context: Context, name: str, description: str, specs: Mapping[str, str], *, is_public: bool
) -> VolumeType:
    """Make a type. Raises Conflict when the name is taken, Invalid."""
    _check_name(tx, name)
    _check_specs(specs)
    kind = VolumeType(
        id=context.new_id(),
        name=name,
        description=description,
        is_public=is_public,
        extra_specs=dict(specs),
        created_at_us=context.now_us,
    )
    return VOLUME_TYPES.insert(tx, kind)


def _check_name(tx: Tx, name: str, own_id: str = "") -> None:
    if not name:
        raise Invalid("Volume type name can not be empty.")
    if len(name) > 255:
        raise Invalid(f"Name has {len(name)} characters, more than 255.")
    found = VOLUME_TYPES.find(tx, name=name)
    if found is not None and found.id != own_id:
        raise Conflict(f"Volume Type {name} already exists.")


def _check_specs(specs: Mapping[str, str]) -> None:
    if len(specs) > SPECS_MOST:
        raise Invalid(f"A volume type has at most {SPECS_MOST} extra specs.")
    backend = specs.get(BACKEND_SPEC, LOCAL)
    if backend not in ("", LOCAL, CEPH):
        raise Invalid(f"Invalid input received: {BACKEND_SPEC} is {LOCAL} or {CEPH}, not {backend}.")


def update_type(
    tx: Tx,
    context: Context,
    type_id: str,
    *,
    name: str | None = None,
    description: str | None = None,
    is_public: bool | None = None,
) -> VolumeType:
    """Change name, description or whether it is public. Raises NotFound, Conflict, Invalid."""
    kind = get_type(tx, context, type_id)
    changes: dict[str, object] = {}
    if name is not None:
        _check_name(tx, name, kind.id)
        if name != kind.name and kind.id == get_default_type(tx, context).id:
            raise Invalid(f"Invalid input received: volume type {kind.name} is the default and keeps its name.")
        changes["name"] = name
    if description is not None:
        changes["description"] = description
    if is_public is not None:
        changes["is_public"] = is_public
    if not changes:
        raise Invalid("Specify volume type name, description, is_public or a combination thereof.")
    VOLUME_TYPES.update(tx, kind.id, **changes)
    return VOLUME_TYPES.get(tx, kind.id)


def is_used(tx: Tx, type_id: str) -> bool:
    """Whether there are volumes or snapshots of the type."""
    return bool(
        VOLUMES.list(tx, volume_type_id=type_id, limit=1) or SNAPSHOTS.list(tx, volume_type_id=type_id, limit=1)
    )


def delete_type(tx: Tx, context: Context, type_id: str) -> None:
    """Remove a type that nothing is of. Raises NotFound, Invalid."""
    kind = get_type(tx, context, type_id)
    if kind.name in (DEFAULT_TYPE, CEPH):
        raise Invalid(f"The volume type {kind.id} is a default volume type and cannot be deleted.")
    if is_used(tx, kind.id):
        raise Invalid("Target volume type is still in use.")
    VOLUME_TYPES.delete(tx, kind.id)


# ---- extra specs ---------------------------------------------------------------------------------------------------


def set_specs(tx: Tx, context: Context, type_id: str, specs: Mapping[str, str]) -> None:
    """Add or change extra specs. Raises NotFound, and Invalid for the kind of storage of a type that there are volumes of."""
    kind = get_type(tx, context, type_id)
    changed = msgspec.structs.replace(kind, extra_specs={**kind.extra_specs, **specs})
    _check_specs(changed.extra_specs)
    _change_specs(tx, kind, changed)


def get_spec(tx: Tx, context: Context, type_id: str, key: str) -> str:
    """One extra spec. Raises NotFound."""
    specs = get_type(tx, context, type_id).extra_specs
    if key not in specs:
        raise NotFound("extra spec", key, f"Volume Type {type_id} has no extra specs with key {key}.")
    return specs[key]


def delete_spec(tx: Tx, context: Context, type_id: str, key: str) -> None:
    """Remove one extra spec. Raises NotFound, Invalid as `set_specs` does."""
    get_spec(tx, context, type_id, key)
    kind = get_type(tx, context, type_id)
    left = {name: value for name, value in kind.extra_specs.items() if name != key}
    _change_specs(tx, kind, msgspec.structs.replace(kind, extra_specs=left))


def _change_specs(tx: Tx, kind: VolumeType, changed: VolumeType) -> None:
    if backend_of(kind) != backend_of(changed) and is_used(tx, kind.id):
        raise Invalid(
            f"Invalid input received: volume type {kind.id} is in use; its volumes' storage can't be changed."
        )
    VOLUME_TYPES.update(tx, kind.id, extra_specs=changed.extra_specs)


# ---- who may use a private one -------------------------------------------------------------------------------------


def list_type_access(tx: Tx, context: Context, type_id: str) -> list[tuple[str, str]]:
    """(type, project) of those that may use a type that is not public. Raises NotFound for a public one."""
    kind = get_type(tx, context, type_id)
    if kind.is_public:
        raise NotFound("access list", type_id, "Access list not available for public volume types.")
    return [(kind.id, project_id) for project_id in list_access(tx, kind.id)]


def add_type_access(tx: Tx, context: Context, type_id: str, project_id: str) -> None:
    """Give a project access. Raises NotFound, Invalid for a public type, Conflict when the project has it."""
    kind = _private(tx, context, type_id)
    if not add_access(tx, kind.id, project_id):
        raise Conflict(f"Volume type access for {kind.id} / {project_id} combination already exists.")


def remove_type_access(tx: Tx, context: Context, type_id: str, project_id: str) -> None:
    """Take access away. Raises NotFound, also when the project hasn't got it, and Invalid for a public type."""
    kind = _private(tx, context, type_id)
    if not remove_access(tx, kind.id, project_id):
        raise NotFound(
            "volume type access",
            project_id,
            f"Volume type access not found for {kind.id} / {project_id} combination.",
        )


def _private(tx: Tx, context: Context, type_id: str) -> VolumeType:
    kind = get_type(tx, context, type_id)
    if kind.is_public:
        raise Invalid("Invalid volume type: Type access modification is not applicable to public volume type.")
    return kind
