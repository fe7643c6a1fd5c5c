"""Looks at a cluster without changing anything, for `ostro doctor`. Blocks."""

from __future__ import annotations

import errno
import json
from types import TracebackType
from typing import Any

import rados

from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.ceph.errors import code_of, translated
from ostro.runtime.ceph.handles import connect

NO_SUCH_VERSION = 1 << 62
NO_OBJECT = "ostro.inquiry"
NO_ADDRESS = "nowhere/1"
"""Looks like an address to what watches over the user's rights, and is none."""


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

    def try_pool(self, name: str, *, disks: bool = False) -> int:
        """0 if the user may read and write in the pool, and make ``disks`` there, else the errno."""
        try:
            with self._cluster.open_ioctx(name) as ioctx, rados.WriteOpCtx() as op:
                # Refused by its version, after the user's rights were looked at.
                op.assert_version(NO_SUCH_VERSION)
                op.remove()
                ioctx.operate_write_op(op, NO_OBJECT)
        except rados.Error as error:
            if code_of(error) not in (errno.ERANGE, errno.EOVERFLOW):
                return code_of(error)
        return self._try_disks(name) if disks else 0

    def _try_disks(self, name: str) -> int:
        """librbd does all by methods of the OSD's, which reading and writing alone don't allow."""
        try:
            with self._cluster.open_ioctx(name) as ioctx:
                # Refused for the lack of arguments, after the user's rights were looked at.
                ioctx.execute(NO_OBJECT, "rbd", "create", b"")
        except rados.Error as error:
            return 0 if code_of(error) == errno.EINVAL else code_of(error)
        return 0

    def try_fencing(self) -> int:
        """0 if the user may shut a client out that holds a disk's lock, else the errno."""
        words = {"prefix": "osd blocklist", "blocklistop": "add", "addr": NO_ADDRESS}
        code, _out, _complaint = self._cluster.mon_command(json.dumps(words), b"", timeout=10)
        return 0 if code == -errno.EINVAL else -int(code)
