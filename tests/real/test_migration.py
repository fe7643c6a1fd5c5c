"""Two real libvirtds that send each other domains."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

from ostro.agent.drivers.hypervisor import Disk, DomainSpec, Memo
from ostro.agent.drivers.hypervisor.libvirt import LibvirtHypervisor, open_
from ostro.agent.parts.libvirtd import Listening
from ostro.model.wishes import Power
from ostro.runtime.world import World
from ostro.testing.contracts.hypervisor import CLOUD, ID, MEMO, Changes, MigrationContract, Pair
from ostro.testing.libvirt import TestLibvirtd, console_says, root_disk, serve_libvirtd

ADDRESS = "127.0.0.1"


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def daemons() -> Iterator[tuple[TestLibvirtd, TestLibvirtd]]:
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(serve_libvirtd(Listening(ADDRESS, free_port(), name))) for name in ("one", "two")
        )
        yield one, two


def land(here: Path, there: Path, spec: DomainSpec) -> DomainSpec:
    """Disks of the same kind on the other host, with the same base images and nothing on top."""
    disks = [move(here, there, disk) for disk in spec.disks]
    return msgspec.structs.replace(spec, disks=disks)


def move(here: Path, there: Path, disk: Disk) -> Disk:
    path = there / Path(disk.path).relative_to(here)
    path.unlink(missing_ok=True)
    return root_disk(there, here / "base.qcow2", path.stem)


@pytest.fixture
async def pair(daemons: tuple[TestLibvirtd, TestLibvirtd], tmp_path: Path) -> AsyncIterator[Pair]:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    async with open_(World(), daemons[0].driver(one)) as here, open_(World(), daemons[1].driver(two)) as there:
        yield Pair(here, there, partial(land, one, two))
        for driver in (here, there):
            for domain in await driver.domains():
                await driver.delete(domain.server_id)


@pytest.fixture
def spec(tmp_path: Path, tiny_image: Path, pair: Pair) -> DomainSpec:
    (tmp_path / "one" / "base.qcow2").write_bytes(tiny_image.read_bytes())
    disk = root_disk(tmp_path / "one", tmp_path / "one" / "base.qcow2", ID)
    return DomainSpec(ID, "tiny", "project-1", 1, 96, [disk], [])


async def test_each_daemon_has_a_name_that_nobody_has_to_look_up(pair: Pair) -> None:
    for driver, name in ((pair.here, "one"), (pair.there, "two")):
        assert isinstance(driver, LibvirtHypervisor)
        assert await driver.connection.look(lambda found: found.getHostname()) == f"{name}.ostro.internal"


class TestLibvirtMigration(MigrationContract):
    async def test_a_guest_runs_on_with_what_it_has_written(self, pair: Pair, spec: DomainSpec, tmp_path: Path) -> None:
        for one in (pair.here, pair.there):
            one.watch(CLOUD, Changes())
        await pair.here.define(spec, MEMO)
        await pair.here.start(ID)
        await console_says(pair.here, ID, "guest: ready")
        landing = await pair.there.prepare_arrival(pair.landed(spec), Memo(0, 0, "", "m"))
        await pair.here.migrate(ID, landing, copy=True)
        # The guest hears its button there, so it runs, and its disk is there, so it can end what it runs.
        await pair.there.stop(ID, 120)
        said = await pair.there.console_log(ID, -1)
        assert "guest: power button" in said and "guest: ready" not in said
        await pair.there.start(ID)
        await console_says(pair.there, ID, "guest: ready")
        found = await pair.there.find(ID)
        assert found is not None and found.power is Power.ON
