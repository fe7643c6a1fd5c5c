"""Looks at a cluster without changing anything, for `ostro doctor`. Blocks."""

from __future__ import annotations

import errno
from types import TracebackType
from typing import Any

import rados

from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.ceph.errors import code_of, translated
from ostro.runtime.ceph.handles import connect

NO_SUCH_VERSION = 1 << 62


class Inquiry:
    """A connection of its own. Use it as a context manager. Raises Unavailable and others when there is none to be had."""

    def __init__(self, config: CephConfig) -> None:
        with translated(config.entity):
            self._cluster: Any = connect(config)
        self.fsid = str(self._cluster.get_fsid())

    def __enter__(self) -> Inquiry:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cluster.shutdown()

    def try_pool(self, name: str) -> int:
        """0 if the user may read and write in the pool, else the errno."""
        try:
            with self._cluster.open_ioctx(name) as ioctx, rados.WriteOpCtx() as op:
                # Refused by its version, after the user's rights were looked at.
                op.assert_version(NO_SUCH_VERSION)
                op.remove()
                ioctx.operate_write_op(op, "ostro.inquiry")
        except rados.Error as error:
            code = code_of(error)
            return 0 if code in (errno.ERANGE, errno.EOVERFLOW) else code
        return 0
