"""The configuration of a small, quick Ceph in one directory. Pure.

What differs from Ceph's defaults, and why: everything listens on loopback and keeps its files in the directory; a single copy is
allowed; monitors propose at once and ticks are short, because tests wait for them; caches are small, because a test machine is.
The read lease (heartbeat grace times ratio, 1 s) is what a restarted OSD waits before it serves; much shorter, and a busy machine
misses it, which stops all I/O for seconds.
Authentication (cephx) is on, as it is everywhere that matters.
"""

from __future__ import annotations

import base64
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class CephOptions:
    """How large and how real. ``store`` is memstore (in memory, lost with its process) or bluestore (on a sparse file).

    ``size_gib`` is what each OSD offers and ``copies`` how many of each object are kept. ``extra`` adds lines to sections,
    such as ``{"osd": ["debug osd = 10"]}``. ``address`` is where it is reached: one of this machine's, which hosts in namespaces of their own have a
    way to.
    """

    osds: int = 1
    store: str = "memstore"
    size_gib: int = 4
    copies: int = 1
    placement_groups: int = 8
    address: str = "127.0.0.1"
    extra: Mapping[str, list[str]] | None = None


@dataclass(frozen=True)
class Ports:
    """The monitor's two ports (protocol v2 and v1)."""

    v2: int
    v1: int


_SECTIONS = """\
[global]
fsid = {fsid}
mon host = [v2:{address}:{v2}/0,v1:{address}:{v1}/0]
public network = {address}/8
public addr = {address}
cluster addr = {address}
ms bind ipv6 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
mon warn on insecure global id reclaim allowed = false
keyring = {root}/$name.keyring
run dir = {root}/run
admin socket = {root}/run/$name.$pid.asok
pid file = {root}/run/$name.pid
log file = {root}/log/$name.log
log to syslog = false
err to syslog = false
mon cluster log file = {root}/log/cluster.log
crash dir = {root}/crash
setuser =
setgroup =
osd pool default size = {copies}
osd pool default min size = 1
osd pool default read lease ratio = .25
osd pool default pg num = {pgs}
osd pool default pgp num = {pgs}
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
mon allow pool delete = true
mon max pg per osd = 2000
mon data avail warn = 1
mon data avail crit = 0
mon osd full ratio = .97
mon osd backfillfull ratio = .96
mon osd nearfull ratio = .95
mon osd down out interval = 600
mon osd min down reporters = 1
ms async op threads = 1
ms async max op threads = 1
debug ms = 0
{extra_global}
[mon]
mon data = {root}/mon.$id
mon cluster log to syslog = false
paxos propose interval = 0.02
paxos min wait = 0.01
mon memory autotune = false
mon memory target = 134217728
rocksdb cache size = 8388608
mon osd cache size = 10
mon tick interval = 1
{extra_mon}
[osd]
osd data = {root}/osd.$id
osd objectstore = {store}
osd class load list = *
osd class default list = *
osd crush update on start = true
osd memory target = 939524096
osd op num shards = 2
osd op num threads per shard = 1
osd min pg log entries = 50
osd max pg log entries = 100
osd pg log dups tracked = 100
osd map cache size = 50
osd fast shutdown = true
osd mon shutdown timeout = 1
memstore device bytes = {size_bytes}
bluestore block create = true
bluestore block size = {size_bytes}
bluestore cache autotune = false
bluestore cache size = 33554432
bluestore fsck on mount = false
bluestore fsck on mkfs = false
bluestore rocksdb options = {rocksdb}
bdev async discard = false
bdev enable discard = false
{extra_osd}
[client]
rbd default features = 61
rbd cache = true
objecter tick interval = 0.5
objecter timeout = 2
{extra_client}
"""

_ROCKSDB = ",".join(
    (
        "compression=kNoCompression",
        "max_write_buffer_number=4",
        "min_write_buffer_number_to_merge=1",
        "recycle_log_file_num=4",
        "write_buffer_size=8388608",
        "writable_file_max_buffer_size=0",
        "compaction_readahead_size=2097152",
        "max_background_compactions=1",
    )
)


def ceph_conf(root: Path, options: CephOptions, fsid: str, ports: Ports) -> str:
    """The text of ``ceph.conf``."""
    extra = options.extra or {}
    return _SECTIONS.format(
        root=root,
        fsid=fsid,
        v2=ports.v2,
        v1=ports.v1,
        address=options.address,
        copies=options.copies,
        pgs=options.placement_groups,
        store=options.store,
        size_bytes=options.size_gib << 30,
        rocksdb=_ROCKSDB,
        **{f"extra_{section}": "\n".join(extra.get(section, ())) for section in ("global", "mon", "osd", "client")},
    )


def new_key(now_s: int) -> str:
    """A cephx secret: type 1 (AES), the time it was made, and sixteen random bytes."""
    return base64.b64encode(struct.pack("<hiih", 1, now_s, 0, 16) + os.urandom(16)).decode()


def keyring(entity: str, key: str, caps: Mapping[str, str]) -> str:
    """A keyring file with one entity."""
    lines = [f"[{entity}]", f"\tkey = {key}", *(f'\tcaps {service} = "{words}"' for service, words in caps.items())]
    return "\n".join(lines) + "\n"


def entities(osds: int) -> dict[str, dict[str, str]]:
    """Who may do what from the start: the daemons and the administrator."""
    out = {
        "mon.": {"mon": "allow *"},
        "client.admin": {"mon": "allow *", "osd": "allow *", "mgr": "allow *"},
    }
    for number in range(osds):
        out[f"osd.{number}"] = {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"}
    return out
