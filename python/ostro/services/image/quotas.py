"""The image service's quotas: unified limits under Glance's names. Sizes are in MiB.

An image counts for its owner from its record on; its bytes count when they are there, and are asked for when they are announced and again, as they
are, in the transaction that makes them the image's. So no upload passes the limit, not even the last one.
"""

from __future__ import annotations

from collections.abc import Mapping

from ostro.model.context import Context
from ostro.model.errors import QuotaExceeded
from ostro.model.quotas import DEFAULTS, UNLIMITED
from ostro.services.quotas import find_over, get_limits
from ostro.store.database import Tx
from ostro.store.images import sum_images
from ostro.store.limits import Scope, of_project

SERVICE = "image"
COUNT = "image_count_total"
SIZE = "image_size_total"
UPLOADING = "image_count_uploading"
MIB = 1 << 20


class OverLimit(QuotaExceeded):
    """A limit of images would be passed; Glance answers 413."""

    status = 413


def _used(tx: Tx, scope: Scope, more_bytes: int = 0) -> dict[str, int]:
    """What is used; the size so that it and ``more_bytes`` together are rounded up once."""
    count, size_bytes, uploading = sum_images(tx, scope)
    return {COUNT: count, SIZE: _mib(size_bytes + more_bytes) - _mib(more_bytes), UPLOADING: uploading}


def _mib(size_bytes: int) -> int:
    return -(-size_bytes // MIB)


def _check(tx: Tx, context: Context, project_id: str, asked: Mapping[str, int], more_bytes: int = 0) -> None:
    over = find_over(tx, context, SERVICE, project_id, asked, lambda tx, scope: _used(tx, scope, more_bytes))
    if over:
        parts = ", ".join(
            f"Resource {item.name} is over limit of {item.limit} due to current usage {item.used} and delta {item.asked}"
            for item in over
        )
        raise OverLimit(f"Project {project_id} is over a limit for [{parts}]")


def check_new_image(tx: Tx, context: Context, owner_id: str) -> None:
    """Raise OverLimit unless the project may have one more image."""
    _check(tx, context, owner_id, {COUNT: 1})


def check_upload(tx: Tx, context: Context, owner_id: str, announced_bytes: int | None) -> None:
    """Raise OverLimit unless the project may have one more upload under way, and the bytes that it announces."""
    announced = announced_bytes or 0
    _check(tx, context, owner_id, {UPLOADING: 1, SIZE: _mib(announced)}, announced)


def check_bytes(tx: Tx, context: Context, owner_id: str, size_bytes: int) -> None:
    """Raise OverLimit unless the project may keep so many bytes more."""
    _check(tx, context, owner_id, {SIZE: _mib(size_bytes)}, size_bytes)


def get_usage(tx: Tx, context: Context) -> dict[str, tuple[int, int]]:
    """Resource -> (limit, usage) of the actor's project."""
    limits = get_limits(tx, context, SERVICE, context.project_id)
    used = _used(tx, of_project(context.project_id))
    return {name: (limits.get(name, UNLIMITED), used.get(name, 0)) for name in DEFAULTS[SERVICE]}
