"""Two real libvirtds that send each other domains, in the open and with the certificates of hosts that have joined a cloud."""

from __future__ import annotations

import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.agent.drivers.hypervisor import Disk, DomainSpec, Memo, libvirt
from ostro.agent.drivers.hypervisor.domain_xml import Landing
from ostro.agent.drivers.hypervisor.libvirt import LibvirtHypervisor, open_
from ostro.agent.identity import Identity
from ostro.agent.parts import libvirtd
from ostro.agent.parts.libvirtd import Listening, restart_to_show_certificates
from ostro.model.errors import Unavailable, Unsupported
from ostro.model.wishes import Power
from ostro.runtime.certificates import Authority, make_request, new_key
from ostro.runtime.world import World
from ostro.testing.contracts.hypervisor import CLOUD, ID, MEMO, Changes, MigrationContract, Pair
from ostro.testing.libvirt import GUEST_WAIT_S, LOOK_EVERY_S, TestLibvirtd, console_says, root_disk, serve_libvirtd

ADDRESS = "127.0.0.1"
NEVER = 1_000_000_000


def free_port() -> int:
    with socket.create_server((ADDRESS, 0)) as listener:
        return int(listener.getsockname()[1])


CA = Authority.make("cloud", World().now_us())


def joined(folder: Path, authority: Authority, name: str) -> Identity:
    """A host that has joined the authority's cloud."""
    folder.mkdir()
    key, identity = new_key(), Identity(folder, name)
    issued, _ = authority.sign_host(make_request(key, name), name, World().now_us(), 3600.0)
    identity.keep(key, issued.pem, authority.cert_pem)
    return identity


@pytest.fixture(scope="module", params=["plain", "tls"])
def daemons(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[TestLibvirtd, TestLibvirtd]]:
    folder = tmp_path_factory.mktemp("hosts")
    with ExitStack() as stack:

        def serve(name: str) -> TestLibvirtd:
            pki = joined(folder / name, CA, name).pki if request.param == "tls" else None
            return stack.enter_context(serve_libvirtd(Listening(ADDRESS, free_port(), name, pki)))

        yield serve("one"), serve("two")


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


async def test_nothing_goes_between_one_host_with_a_certificate_and_one_without(pair: Pair, spec: DomainSpec) -> None:
    for one in (pair.here, pair.there):
        one.watch(CLOUD, Changes())
    await pair.here.define(spec, MEMO)
    await pair.here.start(ID)
    landing = msgspec.json.decode(await pair.there.prepare_arrival(pair.landed(spec), MEMO), type=Landing)
    other = msgspec.structs.replace(landing, tls=not landing.tls)
    with pytest.raises(Unsupported):
        await pair.here.migrate(ID, msgspec.json.encode(other).decode(), copy=True)
    if landing.tls:
        impostor = msgspec.structs.replace(landing, host="three")
        with pytest.raises(Unavailable, match="verify peer"):
            await pair.here.migrate(ID, msgspec.json.encode(impostor).decode(), copy=True)


async def test_a_new_certificate_is_shown(daemons: tuple[TestLibvirtd, TestLibvirtd]) -> None:
    config = daemons[0].config
    listening = config.listening
    assert listening is not None
    before = daemons[0].pid
    if listening.pki is None:
        await restart_to_show_certificates(config)
        assert daemons[0].pid == before, "it has none to show"
        return
    host = Identity(listening.pki.parent, "one")
    assert await shown(host, listening.port) == (listening.pki / "servercert.pem").read_text()
    key = new_key()
    issued, _ = CA.sign_host(make_request(key, "one"), "one", World().now_us(), 3600.0)
    host.keep(key, issued.pem)
    await restart_to_show_certificates(config)
    async with libvirtd.open_(World(), config):
        assert await shown(host, listening.port) == issued.pem


async def shown(host: Identity, port: int) -> str:
    """The certificate that a daemon shows."""
    stream = trio.SSLStream(await trio.open_tcp_stream(ADDRESS, port), host.context(), server_hostname="one")
    with trio.fail_after(30):
        await stream.do_handshake()
    found = stream.getpeercert(binary_form=True)
    await trio.aclose_forcefully(stream)
    return ssl.DER_cert_to_PEM_cert(found)


async def send_slowly(
    pair: Pair, spec: DomainSpec, nursery: trio.Nursery, before: Callable[[], None] = lambda: None
) -> list[Unavailable]:
    """Have a guest that runs on its way, at a MiB a second; what its attempt fails with is put into the list. ``before`` is called before that."""
    for one in (pair.here, pair.there):
        one.watch(CLOUD, Changes())
    assert isinstance(pair.here, LibvirtHypervisor)
    await pair.here.define(spec, MEMO)
    await pair.here.start(ID)
    await console_says(pair.here, ID, "guest: ready")
    await pair.here.connection.act(lambda found: found.lookupByUUIDString(ID).migrateSetMaxSpeed(1))
    landing = await pair.there.prepare_arrival(pair.landed(spec), Memo(0, 0, "", "m"))
    failures: list[Unavailable] = []
    before()

    async def send() -> None:
        try:
            await pair.here.migrate(ID, landing, copy=True)
        except Unavailable as error:
            failures.append(error)

    nursery.start_soon(send)
    with trio.fail_after(GUEST_WAIT_S):
        while True:
            found = await pair.here.find(ID)
            progress = await pair.here.migration(ID)
            assert found is not None
            if progress is not None and progress.memory_remaining:
                assert found.moving and not found.sent
                return failures
            await trio.sleep(LOOK_EVERY_S)


class TestLibvirtMigration(MigrationContract):
    async def test_one_under_way_is_aborted(self, pair: Pair, spec: DomainSpec) -> None:
        async with trio.open_nursery() as nursery:
            failures = await send_slowly(pair, spec, nursery)
            await pair.here.abort_migration(ID)
        assert len(failures) == 1 and "canceled" in str(failures[0].detail or failures[0].message)
        found = await pair.here.find(ID)
        assert found is not None and (found.power, found.moving, found.sent) == (Power.ON, False, False)
        assert await pair.there.find(ID) is None
        await pair.here.stop(ID, 120)
        said = await pair.here.console_log(ID, -1)
        assert said.count("guest: ready") == 1 and "guest: power button" in said

    @pytest.mark.parametrize(("defined", "sent"), [(0, 0), (NEVER, NEVER), (0, NEVER)])
    async def test_a_guest_stands_still_meanwhile_only_where_qemu_forgets_what_it_writes(
        self, pair: Pair, spec: DomainSpec, defined: int, sent: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By a QEMU that sees it all, by one that forgets, and by one that forgets of a guest that was started before that was known."""
        emulated = pair.here.facts.acceleration == "tcg"
        monkeypatch.setattr(libvirt, "SEES_WRITES_FROM", defined)
        async with trio.open_nursery() as nursery:
            await send_slowly(pair, spec, nursery, lambda: monkeypatch.setattr(libvirt, "SEES_WRITES_FROM", sent))
            found = await pair.here.find(ID)
            assert found is not None and found.moving
            assert found.power is (Power.PAUSED if emulated and sent > defined else Power.ON)
            await pair.here.force_migration(ID)
        found = await pair.there.find(ID)
        assert found is not None and (found.power, found.moving) == (Power.ON, False)
        await pair.there.stop(ID, 120)
        assert "guest: power button" in await pair.there.console_log(ID, -1), "it goes on"

    async def test_one_under_way_is_forced_to_its_end(self, pair: Pair, spec: DomainSpec) -> None:
        async with trio.open_nursery() as nursery:
            failures = await send_slowly(pair, spec, nursery)
            await pair.here.force_migration(ID)
        assert failures == []
        found, left = await pair.there.find(ID), await pair.here.find(ID)
        assert found is not None and (found.power, found.moving) == (Power.ON, False)
        assert left is not None and (left.power, left.sent) == (Power.OFF, True)

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
