"""The shared connection to a real Ceph: objects, bounds, deadlines, and a cluster that goes away and comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest
import trio
import trio.testing
from click.testing import CliRunner

from ostro.cli.ceph import check_ceph
from ostro.cli.doctor import doctor
from ostro.cli.findings import Verdict
from ostro.model.errors import NotFound, Unavailable
from ostro.runtime.ceph.config import CephConfig, Pools, capabilities, caps_command
from ostro.runtime.world import World
from ostro.testing.ceph import CephCluster, CephOptions, why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

from ostro.runtime.ceph.connection import Ceph, State, open_
from ostro.runtime.ceph.objects import Objects

POOLS = Pools("t-images", "t-volumes", "t-objects")
PATIENCE_S = 30.0


def configure(cluster: CephCluster, user: str = "ostro") -> CephConfig:
    """Pools and a user with the least privilege, as an administrator is told to make them."""
    for name in (POOLS.images, POOLS.volumes, POOLS.objects):
        cluster.create_pool(name)
    cluster.add_user(user, capabilities(POOLS))
    return CephConfig(cluster.conf, user, POOLS)


@pytest.fixture(scope="module")
def config(ceph: CephCluster) -> Iterator[CephConfig]:
    yield configure(ceph)
    for name in (POOLS.images, POOLS.volumes, POOLS.objects):
        ceph.remove_pool(name)


@pytest.fixture
async def connection(config: CephConfig) -> AsyncIterator[Ceph]:
    async with open_(World(), config) as connected:
        await connected.wait_connected(PATIENCE_S)
        yield connected


@pytest.fixture
def objects(connection: Ceph) -> Objects:
    return Objects(connection, POOLS.objects)


async def test_an_object_is_created_once(objects: Objects) -> None:
    assert await objects.create("once", b"first")
    assert not await objects.create("once", b"second")
    assert await objects.read("once", 100) == b"first"
    assert await objects.read("once", 3, 1) == b"irs"
    assert await objects.size("once") == 5
    assert await objects.remove("once")
    assert not await objects.remove("once")
    assert await objects.size("once") is None
    with pytest.raises(NotFound):
        await objects.read("once", 1)


async def test_an_empty_object_has_no_bytes_whatever_is_asked(objects: Objects) -> None:
    await objects.create("empty", b"")
    assert await objects.read("empty", 4096) == b""
    assert await objects.remove("empty")


async def test_only_an_object_that_is_there_is_touched(objects: Objects) -> None:
    assert not await objects.touch("touched")
    assert await objects.size("touched") is None
    await objects.create("touched", b"x")
    before = await objects.stat("touched")
    assert before is not None and before.age_s < 60
    assert await objects.touch("touched")
    after = await objects.stat("touched")
    assert after is not None and after.version > before.version
    assert not await objects.remove_version("touched", before.version)
    assert await objects.remove_version("touched", after.version)
    assert await objects.stat("touched") is None
    await objects.create("touched", b"x")
    assert not await objects.remove_version("touched", after.version)
    assert await objects.remove("touched")


async def test_all_names_are_listed(objects: Objects) -> None:
    names = {f"listed-{number:04}" for number in range(1100)}
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(objects.create, name, b"")
    assert {name async for page in objects.pages() for name in page} == names
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(objects.remove, name)


async def test_a_listing_that_is_given_up_lets_the_connection_go(config: CephConfig) -> None:
    """librados crashes when a connection is shut down before a listing on it."""
    async with open_(World(), config) as connection:
        await connection.wait_connected(PATIENCE_S)
        objects = Objects(connection, config.pools.objects)
        for number in range(3):
            await objects.create(f"given-up-{number}", b"x")
        async with aclosing(objects.pages()) as pages:
            assert len(await anext(pages)) >= 3
        with trio.CancelScope() as scope:
            async with aclosing(objects.pages()) as pages:
                scope.cancel()
                await anext(pages)
        for number in range(3):
            assert await objects.remove(f"given-up-{number}")


async def test_what_is_in_flight_is_bounded(connection: Ceph, objects: Objects) -> None:
    most = 0
    data = bytes(4 << 20)

    async def put(number: int) -> None:
        nonlocal most
        await objects.create(f"bulk-{number}", data)
        most = max(most, connection.budget.used_bytes)
        await objects.remove(f"bulk-{number}")

    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(put, number)
    assert most <= 96 << 20
    assert connection.budget.ops == 0 and connection.budget.used_bytes == 0
    assert len(connection.inflight) == 0


async def test_a_cancelled_operation_keeps_its_place_until_it_is_done(
    ceph: CephCluster, connection: Ceph, objects: Objects
) -> None:
    await objects.size("open the pool first")
    ceph.freeze("osd.0")
    try:
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(objects.create, f"cancelled-{number}", bytes(1 << 18))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert connection.budget.ops == 50
    finally:
        ceph.thaw("osd.0")
    with trio.fail_after(PATIENCE_S):
        while connection.budget.ops:
            await objects.size("a barrier")
    assert connection.budget.used_bytes == 0


async def test_privileges_end_where_they_should(config: CephConfig, ceph: CephCluster, connection: Ceph) -> None:
    ceph.create_pool("t-foreign")
    # An OSD that stood still in an earlier test may take its time to make what the pool consists of.
    assert ceph.objects("t-foreign") == []
    with pytest.raises(Unavailable, match="does not allow"):
        await Objects(connection, "t-foreign").create("intruder", b"")
    with pytest.raises(NotFound):
        await Objects(connection, "t-absent").create("nowhere", b"")
    ceph.remove_pool("t-foreign")


def test_the_doctor_finds_nothing_wrong(config: CephConfig) -> None:
    assert {finding.verdict for finding in check_ceph(config)} == {Verdict.FINE}


def test_the_doctor_says_what_to_make_and_to_grant(config: CephConfig, ceph: CephCluster) -> None:
    absent = CephConfig(config.conf, config.user, Pools(POOLS.images, POOLS.volumes, "t-none"))
    wrong = [finding for finding in check_ceph(absent) if finding.verdict is Verdict.WRONG]
    assert [finding.what for finding in wrong] == ["pool t-none"]
    assert "ceph osd pool create t-none" in wrong[0].remedy

    ceph.create_pool("t-other")
    foreign = CephConfig(config.conf, config.user, Pools(POOLS.images, POOLS.volumes, "t-other"))
    wrong = [finding for finding in check_ceph(foreign) if finding.verdict is Verdict.WRONG]
    assert [finding.found for finding in wrong] == ["client.ostro is not allowed to use it"]
    assert wrong[0].remedy.startswith("ceph auth caps client.ostro mon 'profile rbd' osd ")
    ceph.remove_pool("t-other")

    nobody = CephConfig(config.conf, "nobody", POOLS)
    wrong = [finding for finding in check_ceph(nobody) if finding.verdict is Verdict.WRONG]
    assert "ceph auth get-or-create client.nobody mon 'profile rbd'" in wrong[0].remedy


@pytest.mark.parametrize(
    ("service", "caps", "wrong"),
    [
        ("osd", "allow rw pool=t-images, profile rbd pool=t-volumes, allow rw pool=t-objects", ["pool t-images"]),
        ("osd", "profile rbd pool=t-images, profile rbd pool=t-volumes, allow r pool=t-objects", ["pool t-objects"]),
        ("mon", "allow r", ["Ceph's monitor"]),
    ],
)
def test_the_doctor_finds_what_is_not_granted(
    config: CephConfig, ceph: CephCluster, service: str, caps: str, wrong: list[str]
) -> None:
    """Reading and writing alone make no disk, and reading the monitor's maps fences nobody."""
    user = f"lacks-{service}-{wrong[0].split()[-1]}"
    ceph.add_user(user, {**capabilities(POOLS), service: caps})
    lacking = CephConfig(config.conf, user, POOLS)
    found = [finding for finding in check_ceph(lacking) if finding.verdict is Verdict.WRONG]
    assert [finding.what for finding in found] == wrong
    assert found[0].remedy == caps_command(lacking)


def test_the_doctor_reads_which_ceph_in_the_settings(config: CephConfig, tmp_path: Path) -> None:
    (tmp_path / "ostro.toml").write_text(
        f'ceph_conf = "{config.conf}"\nceph_user = "{config.user}"\nceph_pools = "{config.pools}"\n'
    )
    said = CliRunner().invoke(doctor, ["--state", str(tmp_path)]).output
    assert f"{config.entity} may read and write" in said
    other = CliRunner().invoke(
        doctor, ["--state", str(tmp_path), "--ceph", str(config.conf), "--pools", "volumes=t-none"]
    )
    assert "ceph osd pool create t-none" in other.output


async def test_a_cluster_that_is_not_there_is_unavailable_at_once(tmp_path: Path) -> None:
    conf = tmp_path / "ceph.conf"
    conf.write_text("[global]\nmon host = [v2:127.0.0.1:9/0]\n")
    async with open_(World(), CephConfig(conf)) as away:
        with trio.fail_after(1), pytest.raises(Unavailable) as refusal:
            await Objects(away, "any").size("any")
        assert refusal.value.retry_after_s > 0
        assert away.state is State.CONNECTING


def test_a_dying_cluster_is_noticed_and_its_return_too() -> None:
    with CephCluster(CephOptions(store="bluestore")) as cluster:
        trio.run(_die_and_return, cluster, configure(cluster))


async def _die_and_return(cluster: CephCluster, config: CephConfig) -> None:
    async with open_(World(), config) as connection:
        await connection.wait_connected(PATIENCE_S)
        objects = Objects(connection, POOLS.objects)
        assert await objects.create("before", b"kept")
        cluster.kill_osd(0)
        with trio.fail_after(8), pytest.raises(Unavailable):
            await objects.read("before", 10, deadline_s=6.0)
        assert connection.health.startswith("away: ")
        with trio.fail_after(0.5), pytest.raises(Unavailable) as refusal:
            await objects.create("during", b"")
        assert refusal.value.retry_after_s > 0
        cluster.start_osd(0)
        with trio.fail_after(PATIENCE_S):
            await connection.wait_for(State.UP)
        assert await objects.read("before", 10) == b"kept"
        assert connection.health == "up"
        with trio.fail_after(PATIENCE_S):
            while connection.budget.ops:
                await objects.size("a barrier")


async def test_a_fenced_client_connects_anew(ceph: CephCluster, connection: Ceph, objects: Objects) -> None:
    address = await connection.call("me", lambda cluster: cluster.get_addrs())
    ceph.command("osd blocklist", blocklistop="add", addr=address)
    with trio.fail_after(PATIENCE_S), pytest.raises(Unavailable):
        while True:
            await objects.size("a barrier")
    with trio.fail_after(PATIENCE_S):
        await connection.wait_for(State.UP)
        assert await objects.size("a barrier") is None
