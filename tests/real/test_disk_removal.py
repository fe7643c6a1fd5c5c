"""Disks in a real Ceph made, changed and removed by many threads while clients that have them open die: librbd must not end the process."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trio

from ostro.model.errors import Conflict, NotFound
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.world import World
from ostro.testing.ceph import CephCluster, CephOptions, why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

import rbd

from ostro.runtime.ceph import disks, held
from ostro.runtime.ceph.connection import open_
from ostro.runtime.ceph.disks import Disk
from ostro.runtime.ceph.handles import connect, open_ioctx
from ostro.runtime.ceph.new_disks import NewDisk, make_blank, make_copy

POOL = "removal"
ROUNDS, THREADS, DEATHS = 4, 4, 8
HANGS_S = 240.0
"""Who takes so long is taken to hang."""
PRELUDE = """
import os, random, signal, sys, threading, time
from pathlib import Path
import rbd
from ostro.runtime.ceph import disks
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.ceph.disks import Disk
from ostro.runtime.ceph.handles import connect, open_ioctx
from ostro.runtime.ceph.new_disks import NewDisk, make_blank, make_copy
conf, pool, rounds, threads = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
cluster = connect(CephConfig(conf, "admin"))
ioctx = open_ioctx(cluster, pool)
"""
MAKER = (
    PRELUDE
    + """
def new(name):
    return NewDisk(Disk(pool, name), "x", "x", 64 << 20, {})

def remove(disk):
    left, removed = None, False
    while not removed or left is not None:
        try:
            left = disks.reap(cluster, left) if removed else disks.remove(cluster, disk)
            removed = True
        except rbd.ImageBusy:
            pass
        # What lies in the trash, and somebody who has died had open, is looked after again.
        if not removed or left is not None:
            time.sleep(random.random() / 10)

def work(thread):
    for number in range(rounds):
        one, two = new(f"one-{thread}-{number}"), new(f"two-{thread}-{number}")
        make_blank(cluster, one)
        make_copy(cluster, two, one.disk)
        if number % 3 == 0:
            disks.flatten(cluster, two.disk)
        for made in (one, two) if number % 2 else (two, one):
            remove(made.disk)

workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
print("all removed", flush=True)
os._exit(0)
"""
)
CHANGER = (
    PRELUDE
    + """
disk = Disk(pool, "shared")
disks.create(cluster, disk, 64 << 20)

def work(thread):
    for number in range(rounds * 6):
        disks.snapshot(cluster, disk, f"snap-{thread}")
        disks.set_owner(cluster, disk, f"{thread}-{number}")
        disks.drop_snapshot(cluster, disk, f"snap-{thread}")

workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
disks.remove(cluster, disk)
print("all changed", flush=True)
os._exit(0)
"""
)
SIBLINGS = (
    PRELUDE
    + """
def remove(disk):
    while True:
        try:
            return disks.remove(cluster, disk)
        except rbd.ImageBusy:
            pass

def work(thread):
    for number in range(rounds):
        parent = Disk(pool, f"parent-{thread}-{number}")
        disks.create(cluster, parent, 16 << 20)
        clones = [NewDisk(Disk(pool, f"clone-{thread}-{number}-{at}"), "x", "x", 16 << 20, {}) for at in range(6)]
        for clone in clones:
            make_copy(cluster, clone, parent)
        disks.remove(cluster, parent)
        removers = [threading.Thread(target=remove, args=(clone.disk,)) for clone in clones]
        for remover in removers:
            remover.start()
        for remover in removers:
            remover.join()

workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
while rbd.RBD().list(ioctx) or list(rbd.RBD().trash_list(ioctx)):
    disks.empty_trash(cluster, pool)
print("all gone", flush=True)
os._exit(0)
"""
)
DYING = (
    PRELUDE
    + """
held = []
# What is being made is its maker's alone.
names = [name for name in rbd.RBD().list(ioctx) if not name.startswith("part.")]
for name in random.sample(names, min(4, len(names))):
    try:
        held.append(rbd.Image(ioctx, name))
        held[-1].write(b"x" * 512, 0)
    except rbd.Error:
        pass
os.kill(os.getpid(), signal.SIGKILL)
"""
)


def start(script: str, conf: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", script, str(conf), POOL, str(ROUNDS), str(THREADS)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture(scope="module")
def config() -> Iterator[CephConfig]:
    """A cluster that soon stops believing in clients that have died."""
    with CephCluster(CephOptions(extra={"osd": ["osd client watch timeout = 2"]})) as cluster:
        cluster.create_pool(POOL)
        yield CephConfig(cluster.conf, "admin")


def test_no_death_of_others_is_ours(config: CephConfig) -> None:
    """Whoever dies with a disk open is waited for, as long as the cluster believes in it; nothing is left."""
    maker = start(MAKER, config.conf)
    for _death in range(DEATHS):
        start(DYING, config.conf).communicate()
    out, complaint = maker.communicate()
    assert (maker.returncode, out.strip()) == (0, "all removed"), complaint[-4000:]
    cluster = connect(config)
    with open_ioctx(cluster, POOL) as ioctx:
        assert list(rbd.RBD().trash_list(ioctx)) == [] and rbd.RBD().list(ioctx) == []
    cluster.shutdown()


def test_threads_that_change_one_disk_do_not_end_their_process(config: CephConfig) -> None:
    """Each would ask another for it, and librbd 16 ends who closes a disk while it does what it was asked for."""
    changer = start(CHANGER, config.conf)
    out, complaint = changer.communicate()
    assert (changer.returncode, out.strip()) == (0, "all changed"), complaint[-4000:]


def test_clones_of_what_lies_in_the_trash_are_removed_at_once(config: CephConfig) -> None:
    """librbd opens that for each of them, and two of it may wait for each other for ever."""
    siblings = start(SIBLINGS, config.conf)
    try:
        out, complaint = siblings.communicate(timeout=HANGS_S)
    finally:
        siblings.kill()
    assert (siblings.returncode, out.strip()) == (0, "all gone"), complaint[-4000:]


def test_clones_of_what_lies_in_the_trash_take_turns(config: CephConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held, "TURN_S", 0.01)
    cluster = connect(config)
    parent, clone = (NewDisk(Disk(POOL, name), "x", "x", 1 << 20, {}) for name in ("parent", "clone"))
    make_blank(cluster, parent)
    make_copy(cluster, clone, parent.disk)
    disks.remove(cluster, parent.disk)
    with open_ioctx(cluster, POOL) as ioctx:
        (there,) = rbd.RBD().trash_list(ioctx)
        with held.HELD.turn(cluster, POOL, there["id"]):
            for act in (disks.remove, disks.flatten):
                with pytest.raises(rbd.ImageBusy):
                    act(cluster, clone.disk)
        assert disks.remove(cluster, clone.disk) is None
        assert list(rbd.RBD().trash_list(ioctx)) == [] and rbd.RBD().list(ioctx) == []
    cluster.shutdown()


async def test_a_process_has_a_disk_open_once(config: CephConfig) -> None:
    """However many use it, until the last of them closes it."""
    disk = Disk(POOL, "once")

    def watchers(cluster: Any) -> int:
        with disks.opened(cluster, disk, read_only=True) as image:
            return len(list(image.watchers_list()))

    async with open_(World(), config) as connection:
        await connection.wait_connected(30)
        await connection.call("it", disks.create, disk, 1 << 20)
        one, other = connection.open_disk(disk), connection.open_disk(disk)
        await connection.call("it", disks.snapshot, disk, "snap")
        assert await connection.call("it", watchers) == 1
        one.close()
        one.close()
        other.write(b"x", 0)
        assert await connection.call("it", watchers) == 1
        other.close()
        assert await connection.call("it", watchers) == 0
        await connection.call("it", disks.remove, disk)
        with pytest.raises(NotFound):
            connection.open_disk(disk)


async def test_a_disk_that_is_open_is_busy(config: CephConfig) -> None:
    disk = disks.Disk(POOL, "held")
    async with open_(World(), config) as connection:
        await connection.wait_connected(30)
        await connection.call("it", disks.create, disk, 1 << 20)
        held = connection.open_disk(disk)
        with pytest.raises(Conflict):
            await connection.call("it", disks.remove, disk)
        held.close()
        await connection.call("it", disks.remove, disk)
        assert await connection.call("it", disks.find_size, disk) is None


async def test_whoever_looks_after_the_trash_at_the_same_time_is_waited_for(
    config: CephConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two hosts that delete the last two clones both look at what these stood on, and are in each other's way."""
    cluster = connect(config)
    parent, clone = (NewDisk(Disk(POOL, name), "x", "x", 1 << 20, {}) for name in ("parent", "clone"))
    make_blank(cluster, parent)
    make_copy(cluster, clone, parent.disk)
    with open_ioctx(cluster, POOL) as ioctx:
        assert disks.remove(cluster, parent.disk) is None, "it is stood on"
        (there,) = rbd.RBD().trash_list(ioctx)
        held = rbd.Image(ioctx, image_id=there["id"])
        reap, tried = disks.reap, threading.Event()

        def reap_noting(cluster: Any, candidate: disks.Parent | None) -> disks.Parent | None:
            left = reap(cluster, candidate)
            tried.set()
            return left

        monkeypatch.setattr(disks, "reap", reap_noting)
        async with open_(World(), config) as connection, trio.open_nursery() as nursery:
            await connection.wait_connected(30)
            nursery.start_soon(connection.remove_disk, clone.disk)
            await trio.to_thread.run_sync(tried.wait, 60)
            assert len(list(rbd.RBD().trash_list(ioctx))) == 1
            await trio.to_thread.run_sync(held.close)
        assert list(rbd.RBD().trash_list(ioctx)) == [] and rbd.RBD().list(ioctx) == []
    cluster.shutdown()


def test_the_last_clone_goes_while_what_it_stands_on_is_moved_to_the_trash(
    config: CephConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks there too early."""
    cluster = connect(config)
    parent, clone = (NewDisk(Disk(POOL, name), "x", "x", 1 << 20, {}) for name in ("parent", "clone"))
    make_blank(cluster, parent)
    make_copy(cluster, clone, parent.disk)
    move, moved = rbd.RBD.trash_move, []

    def trash_move(self: rbd.RBD, *args: object) -> None:
        disks.remove(cluster, clone.disk)
        move(self, *args)
        moved.append(args)

    monkeypatch.setattr(rbd.RBD, "trash_move", trash_move)
    disks.remove(cluster, parent.disk)
    with open_ioctx(cluster, POOL) as ioctx:
        assert moved and list(rbd.RBD().trash_list(ioctx)) == [] and rbd.RBD().list(ioctx) == []
    cluster.shutdown()
