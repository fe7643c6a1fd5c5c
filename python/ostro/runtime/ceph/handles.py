"""librados' own handles: the connection, and one for each pool. Blocks."""

from __future__ import annotations

from typing import Any

import rados

from ostro.model.errors import Unavailable
from ostro.runtime.ceph.calls import Gate
from ostro.runtime.ceph.config import CephConfig

CONNECT_S = 10
CLOSE_S = 10.0

SETTINGS = {
    "client_mount_timeout": str(CONNECT_S),
    "rados_mon_op_timeout": "15",
    "rados_osd_op_timeout": "60",
    # After an OSD's restart operations are sent again at the next tick: with the defaults (5 and 10 s) that takes up to 15 s.
    "objecter_tick_interval": "0.5",
    "objecter_timeout": "2",
    "objecter_inflight_ops": "8192",
    "objecter_inflight_op_bytes": str(1 << 30),
    "ms_async_op_threads": "2",
    "rbd_default_clone_format": "2",
    "rbd_cache": "false",
    "admin_socket": "",
    "log_to_stderr": "false",
    "err_to_stderr": "false",
}


def connect(config: CephConfig) -> Any:
    """A connected handle. Raises rados.Error."""
    cluster = rados.Rados(conffile=str(config.conf), name=config.entity)
    try:
        for name, value in SETTINGS.items():
            cluster.conf_set(name, value)
        cluster.connect(timeout=CONNECT_S)
    except BaseException:
        cluster.shutdown()
        raise
    return cluster


def open_ioctx(cluster: Any, pool: str, namespace: str = "") -> Any:
    """A handle of a pool, on which a full cluster is an error and not a wait. Raises rados.Error."""
    ioctx = cluster.open_ioctx(pool)
    ioctx.set_namespace(namespace)
    ioctx.set_osdmap_full_try()
    return ioctx


def shut_down(cluster: Any, ioctxs: list[Any], gate: Gate) -> None:
    """Close everything, unless a call is stuck in it: then it is left to the end of the process. Raises Unavailable then."""
    if not gate.close(CLOSE_S):
        raise Unavailable("A call to Ceph is still under way.")
    for ioctx in ioctxs:
        ioctx.close()
    cluster.shutdown()
