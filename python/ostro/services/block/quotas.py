"""Block storage's quotas: unified limits under Cinder's names, of all volumes and of each type's (``volumes_fast``).

A volume counts from the transaction that makes it until its row is gone, in whatever state, with the size that it shall have; gigabytes are
volumes' and snapshots'.
"""

from __future__ import annotations

from collections.abc import Mapping

from ostro.model.context import Context
from ostro.model.errors import Invalid, QuotaExceeded
from ostro.model.quotas import DEFAULTS, UNLIMITED, Over
from ostro.services.quotas import (
    compare,
    find_over,
    get_class_limits,
    get_default_limits,
    get_limits,
    reset_limits,
    set_class_limits,
    set_limits,
)
from ostro.store.database import Tx
from ostro.store.limits import Scope, of_project
from ostro.store.volume_types import VOLUME_TYPES, VolumeType
from ostro.store.volume_use import Use, sum_use, total

SERVICE = "block-storage"
PER_TYPE = ("volumes", "gigabytes", "snapshots")
PER_VOLUME = "per_volume_gigabytes"


class OverQuota(QuotaExceeded):
    """A quota of block storage would be passed; Cinder answers 413."""

    status = 413
    retry_after_s = 0


def _used(use: Use) -> dict[str, int]:
    return {"volumes": use.volumes, "gigabytes": use.volumes_gb + use.snapshots_gb, "snapshots": use.snapshots}


def _with_type(amounts: Mapping[str, int], type_name: str) -> dict[str, int]:
    return {f"{name}_{type_name}": number for name, number in amounts.items() if name in PER_TYPE}


def _check(tx: Tx, context: Context, project_id: str, kind: VolumeType, asked: Mapping[str, int]) -> None:
    def count(tx: Tx, scope: Scope) -> dict[str, int]:
        uses = sum_use(tx, scope)
        ours = uses.get(kind.id, Use(0, 0, 0, 0))
        return _used(total(uses)) | _with_type(_used(ours), kind.name)

    over = find_over(tx, context, SERVICE, project_id, asked, count)
    if over:
        raise _exceeded(over[0])


def _exceeded(over: Over) -> OverQuota:
    """The error of a passed limit, in Cinder's words."""
    if over.name.startswith("gigabytes"):
        return OverQuota(
            f"Requested volume or snapshot exceeds allowed {over.name} quota. Requested {over.asked}G, "
            f"quota is {over.limit}G and {over.used}G has been consumed."
        )
    noun = over.name.partition("_")[0]
    of = f" for quota '{over.name}'." if noun == "volumes" else ""
    return OverQuota(f"Maximum number of {noun} allowed ({over.limit}) exceeded{of}")


def check_new_volume(tx: Tx, context: Context, kind: VolumeType, size_gb: int) -> None:
    """Raise OverQuota unless the actor's project may have one more volume of the type and size."""
    _check_size(tx, context, context.project_id, size_gb)
    asked = {"volumes": 1, "gigabytes": size_gb}
    _check(tx, context, context.project_id, kind, asked | _with_type(asked, kind.name))


def _check_size(tx: Tx, context: Context, project_id: str, size_gb: int) -> None:
    limits = get_limits(tx, context, SERVICE, project_id)
    if compare(tx, limits, of_project(project_id), {PER_VOLUME: size_gb}, lambda _tx, _scope: {}):
        raise OverQuota(f"Requested volume size {size_gb}G is larger than maximum allowed limit {limits[PER_VOLUME]}G.")


def check_extension(tx: Tx, context: Context, project_id: str, type_id: str, size_gb: int, more_gb: int) -> None:
    """Raise OverQuota unless a volume may grow by so much, to ``size_gb``."""
    kind = VOLUME_TYPES.get(tx, type_id)
    _check_size(tx, context, project_id, size_gb)
    asked = {"gigabytes": more_gb}
    _check(tx, context, project_id, kind, asked | _with_type(asked, kind.name))


def check_retype(tx: Tx, context: Context, project_id: str, kind: VolumeType, size_gb: int) -> None:
    """Raise OverQuota unless the project may have one more volume of that type; in all there are as many as before."""
    _check(tx, context, project_id, kind, _with_type({"volumes": 1, "gigabytes": size_gb}, kind.name))


def check_new_snapshot(tx: Tx, context: Context, project_id: str, type_id: str, size_gb: int) -> None:
    """Raise OverQuota unless the project may have one more snapshot of that size."""
    kind = VOLUME_TYPES.get(tx, type_id)
    asked = {"snapshots": 1, "gigabytes": size_gb}
    _check(tx, context, project_id, kind, asked | _with_type(asked, kind.name))


# ---- quota sets ------------------------------------------------------------------------------------------------------


def list_resources(tx: Tx) -> list[str]:
    """What a quota set shows: the plain resources, and those of each type."""
    types = [row.name for row in VOLUME_TYPES.list(tx, order="name")]
    return [*DEFAULTS[SERVICE], *(f"{noun}_{name}" for name in types for noun in PER_TYPE)]


def _named(tx: Tx, limits: Mapping[str, int]) -> dict[str, int]:
    return {name: limits.get(name, UNLIMITED) for name in list_resources(tx)}


def get_quotas(tx: Tx, context: Context, project_id: str) -> dict[str, int]:
    """A project's limits by Cinder's names."""
    return _named(tx, get_limits(tx, context, SERVICE, project_id))


def get_default_quotas(tx: Tx, context: Context) -> dict[str, int]:
    """The limits of projects that have none of their own."""
    return _named(tx, get_default_limits(tx, context, SERVICE))


def get_usage(tx: Tx, context: Context, project_id: str) -> dict[str, int]:
    """What the project has, by Cinder's names."""
    uses = sum_use(tx, of_project(project_id))
    used = _used(total(uses))
    for row in VOLUME_TYPES.list(tx):
        used |= _with_type(_used(uses.get(row.id, Use(0, 0, 0, 0))), row.name)
    return {name: used.get(name, 0) for name in list_resources(tx)}


def get_quotas_and_usage(tx: Tx, context: Context, project_id: str) -> tuple[dict[str, int], dict[str, int]]:
    """Both, of one moment."""
    return get_quotas(tx, context, project_id), get_usage(tx, context, project_id)


def update_quotas(
    tx: Tx, context: Context, project_id: str, wanted: Mapping[str, int], *, check_used: bool
) -> dict[str, int]:
    """Give a project limits of its own. Raises Invalid for an unknown name and, with ``check_used``, for less than there is."""
    _check_names(tx, wanted)
    used = get_usage(tx, context, project_id) if check_used else {}
    for name, number in sorted(wanted.items()):
        if 0 <= number < used.get(name, 0):
            raise Invalid(
                f"Invalid input received: Quota limit {number} for {name} is below what is in use, {used[name]}."
            )
    set_limits(tx, context, SERVICE, project_id, wanted)
    return get_quotas(tx, context, project_id)


def _check_names(tx: Tx, wanted: Mapping[str, int]) -> None:
    bad = sorted(set(wanted).difference(list_resources(tx)))
    if bad:
        raise Invalid(f"Bad key(s) in quota set: {', '.join(bad)}")


def reset_quotas(tx: Tx, context: Context, project_id: str) -> None:
    """Take a project's own limits away."""
    reset_limits(tx, context, SERVICE, project_id)


def get_class_quotas(tx: Tx, context: Context, class_name: str) -> dict[str, int]:
    """The numbers of a class."""
    return _named(tx, get_class_limits(tx, context, SERVICE, class_name))


def update_class_quotas(tx: Tx, context: Context, class_name: str, wanted: Mapping[str, int]) -> dict[str, int]:
    """Change the numbers of a class: those of ``default`` hold for every project without its own. Raises Invalid."""
    _check_names(tx, wanted)
    return _named(tx, set_class_limits(tx, context, SERVICE, class_name, wanted))
