"""Ceph's errors as ours. Both bindings raise exceptions with an ``errno``, which is all that is looked at."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

import rados
import rbd

from ostro.model.errors import Conflict, Invalid, NoCapacity, NotFound, OstroError, Unavailable

RETRY_AFTER_S = 5
FENCED = errno.ESHUTDOWN
"""What every call returns once the cluster has shut this client out."""

_FULL = (errno.ENOSPC, errno.EDQUOT)
_REFUSED = (errno.EPERM, errno.EACCES)
_AWAY = (errno.ETIMEDOUT, errno.ESHUTDOWN, errno.ENOTCONN, errno.ECONNREFUSED, errno.EAGAIN, errno.EINTR)
_IN_USE = (errno.EBUSY, errno.ENOTEMPTY, errno.EROFS)


def to_ours(code: int, what: str, detail: str = "") -> OstroError:
    """The error of ours for a positive ``code``; ``what`` names the object."""
    words = detail or errno.errorcode.get(code, str(code))
    if code == errno.ENOENT:
        return NotFound("object", what, f"{what} is not in Ceph.")
    if code == errno.EEXIST:
        return Conflict(f"{what} is in Ceph already.", detail=words)
    if code in _IN_USE:
        return Conflict(f"{what} is in use in Ceph.", detail=words)
    if code in _FULL:
        return NoCapacity("Ceph is full, or the pool's quota is.", detail=words)
    if code in _REFUSED:
        return Unavailable(
            f"Ceph does not allow that on {what}: `ostro doctor` says what to grant.", retry_after_s=60, detail=words
        )
    if code in _AWAY:
        return Unavailable("The storage (Ceph) does not answer.", retry_after_s=RETRY_AFTER_S, detail=words)
    if code in (errno.EINVAL, errno.EDOM, errno.ERANGE):
        return Invalid(f"Ceph finds the arguments for {what} wrong.", detail=words)
    return Unavailable(f"Ceph failed on {what}.", retry_after_s=RETRY_AFTER_S, detail=words)


def code_of(error: BaseException) -> int:
    """The positive errno of a binding's exception, 0 if it has none."""
    code = getattr(error, "errno", None)
    return abs(code) if isinstance(code, int) else 0


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Raise ours in the place of the bindings' errors; others pass."""
    try:
        yield
    except (rados.Error, rbd.Error) as error:
        raise to_ours(code_of(error), what, str(error)) from error
