"""One TLS port for agents, known by their certificates, and for clients, who need none."""

from __future__ import annotations

import json
import random
import ssl
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
import trio

from ostro.agent import link as links
from ostro.agent.http_client import HttpClient
from ostro.agent.identity import Identity, keep_renewed
from ostro.agent.link import HttpLink
from ostro.cli.roles import certify
from ostro.cli.settings import Address
from ostro.http.app import serve
from ostro.http.tls import make_context
from ostro.http.turns import Turns
from ostro.model.errors import NotFound, Unauthenticated, Unavailable
from ostro.model.registration import Inventory, Registration
from ostro.model.wishes import AskWish, Noun
from ostro.runtime.certificates import CONTROLLER_NAME, Authority, key_pem, lifetime_us, make_request, new_key
from ostro.runtime.world import World
from ostro.services.agents.joining import create_token, keep_certificate, new_secret
from ostro.store.database import Database
from ostro.store.joining import CERTIFICATES, revoke_certificates
from ostro.store.wishes import set_wish
from ostro.testing.cloud import TestCloud, open_cloud

INVENTORY = Inventory(4, 8192, 100, "fake", 1, "{}")
WORLD = World(random=random.Random(1))


@dataclass
class Site:
    """A served cloud and its authority."""

    cloud: TestCloud
    authority: Authority
    url: str
    root: Path
    made: int = 0

    def identity(self, name: str) -> Identity:
        """An empty identity in a directory of its own."""
        self.made += 1
        place = self.root / f"{self.made}-{name}"
        place.mkdir()
        return Identity(place, name)

    async def enroll(self, name: str, lifetime_s: float = 3600.0, age_s: float = 0.0) -> Identity:
        """What a host of this name has after it has joined, so long ago."""
        identity, key = self.identity(name), new_key()
        now_us = self.cloud.world.now_us() - int(age_s * 1_000_000)
        issued, digest = self.authority.sign_host(make_request(key, name), name, now_us, lifetime_s)
        await self.cloud.db.run(keep_certificate, self.cloud.admin_context(), name, issued, digest)
        identity.keep(key, issued.pem, self.authority.cert_pem)
        return identity

    def link(self, identity: Identity, *urls: str, incarnation: str = "one") -> HttpLink:
        """The link of a host's agent."""
        return HttpLink(WORLD, links.LinkConfig(urls or (self.url,), incarnation, tls=identity.context))

    def client(self, tls: ssl.SSLContext | None = None) -> HttpClient:
        """A client that trusts the authority."""
        context = tls or ssl.create_default_context(cadata=self.authority.cert_pem)
        return HttpClient(self.url, {"Accept": "application/json"}, lambda: context, CONTROLLER_NAME)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    authority = Authority.make("test", WORLD.now_us())
    async with open_cloud(tmp_path, authority=authority) as cloud, trio.open_nursery() as nursery:
        context = make_context(authority.cert_pem)
        certify(context, authority, Address("https://127.0.0.1", ["127.0.0.1"]), WORLD.now_us())
        (url,) = await nursery.start(serve, cloud.gate, ["127.0.0.1:0"], context)
        yield Site(cloud, authority, url, tmp_path)
        nursery.cancel_scope.cancel()


def registration(name: str) -> Registration:
    return Registration(name, "one", "127.0.0.1", INVENTORY)


async def test_clients_need_no_certificate(site: Site) -> None:
    client = site.client()
    answer = await client.exchange("GET", "/")
    assert answer.status == 200 and b"https://" in answer.body and b"http://" not in answer.body
    assert (await client.exchange("GET", "/compute/v2.1/servers")).status == 401
    assert (await client.exchange("POST", "/agent/v1/hosts", b"{}")).status == 401
    await client.close()


async def test_what_is_not_plain_goes_its_way_by_tls_too(site: Site) -> None:
    context = ssl.create_default_context(cadata=site.authority.cert_pem)
    port = int(site.url.rpartition(":")[2])
    stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", port, ssl_context=context, https_compatible=True)
    token = json.dumps({"auth": {"identity": {"methods": []}}}).encode()
    head = b"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    await stream.send_all(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(token), token))
    with trio.fail_after(60):
        answer = await stream.receive_some(65536)
    assert answer.startswith(b"HTTP/1.1 4")
    await trio.aclose_forcefully(stream)


async def test_a_host_speaks_for_itself_alone(site: Site) -> None:
    one, two = site.link(await site.enroll("host-a")), site.link(await site.enroll("host-b"), incarnation="two")
    host_a = (await one.register(registration("host-a"))).host_id
    host_b = (await two.register(msgspec.structs.replace(registration("host-b"), incarnation="two"))).host_id
    assert host_a != host_b
    await one.read_wishes(host_a, 0, 0)
    with pytest.raises(Unauthenticated):
        await two.register(registration("host-a"))
    # Even one that has learnt the other's incarnation.
    thief = site.link(await site.enroll("host-b"), incarnation="one")
    for call in (thief.read_wishes(host_a, 0, 0), thief.report(host_a, [])):
        with pytest.raises(NotFound):
            await call
    with pytest.raises(Unavailable):
        await site.link(await site.enroll("host-c", -1.0)).register(registration("host-c"))
    await one.read_wishes(host_a, 0, 0)
    for link in (one, two, thief):
        await link.close()


async def test_a_certificate_that_was_revoked_is_refused(site: Site) -> None:
    link = site.link(await site.enroll("host-a"))
    host_id = (await link.register(registration("host-a"))).host_id
    await link.read_wishes(host_id, 0, 0)
    await site.cloud.db.run(revoke_certificates, "host-a")
    for call in (link.register(registration("host-a")), link.read_wishes(host_id, 0, 0), link.report(host_id, [])):
        with pytest.raises(Unauthenticated):
            await call
    with pytest.raises(Unauthenticated):
        await link.volume_key("x")
    with pytest.raises(Unauthenticated):
        await link.renew(make_request(new_key(), "host-a"))
    with pytest.raises(Unauthenticated):
        await anext(aiter(link.image("x")))
    await link.close()


async def test_strangers_are_refused_by_their_certificates(site: Site) -> None:
    stranger = Authority.make("stranger", WORLD.now_us())
    key = new_key()
    issued, _digest = stranger.sign_host(make_request(key, "host-a"), "host-a", WORLD.now_us(), 3600)
    identity = site.identity("host-a")
    identity.keep(key, issued.pem, site.authority.cert_pem)
    link = site.link(identity)
    with pytest.raises(Unavailable):
        await link.register(registration("host-a"))
    await link.close()
    # And a server of a stranger is nobody to whom a host would say anything; nor is another host that poses as one.
    key = new_key()
    issued, _digest = site.authority.sign_host(make_request(key, "host-b"), "host-b", WORLD.now_us(), 3600)
    posing = make_context(site.authority.cert_pem)
    chain = site.root / "posing.pem"
    chain.write_text(key_pem(key) + issued.pem)
    posing.load_cert_chain(chain)
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(serve, site.cloud.gate, ["127.0.0.1:0"], posing)
        link = site.link(await site.enroll("host-a"), url)
        with pytest.raises(Unavailable):
            await link.register(registration("host-a"))
        await link.close()
        nursery.cancel_scope.cancel()


async def test_a_change_reaches_a_host_that_waits_and_a_client_that_goes_is_noticed(site: Site) -> None:
    link = site.link(await site.enroll("host-a"))
    host_id = (await link.register(registration("host-a"))).host_id
    since = (await link.read_wishes(host_id, 0, 0)).revision
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:

            async def poll() -> None:
                feed = await link.read_wishes(host_id, since, 50)
                assert [wish.id for wish in feed.wishes] == ["a1"]

            nursery.start_soon(poll)
            await trio.testing.wait_all_tasks_blocked(0.05)
            await site.cloud.db.run(set_wish, host_id, Noun.ASK, "a1", AskWish("a1", "console_log", "s1"))
        with trio.move_on_after(0.2):
            await link.read_wishes(host_id, 99, 50)
        assert not (await link.read_wishes(host_id, 99, 0)).wishes
    await link.close()


async def test_certificates_are_renewed_and_connections_go_on(site: Site) -> None:
    identity = await site.enroll("host-a", 3 * 3600.0, age_s=2 * 3600.0)
    link = site.link(identity)
    host_id = (await link.register(registration("host-a"))).host_id
    file = identity.pki.parent / "identity.pem"
    before = file.read_text()
    async with trio.open_nursery() as nursery:
        renewed = trio.Event()

        async def told() -> None:
            renewed.set()

        nursery.start_soon(keep_renewed, site.cloud.world, identity, link.renew, told)
        with trio.fail_after(60):
            await renewed.wait()
        nursery.cancel_scope.cancel()
    after = file.read_text()
    assert before.partition("-----BEGIN CERT")[0] != after.partition("-----BEGIN CERT")[0], "another key"
    assert lifetime_us(after[after.index("-----BEGIN CERT") :])[1] > WORLD.now_us()
    await link.read_wishes(host_id, 0, 0)
    await link.close()
    fresh = site.link(identity)
    await fresh.register(registration("host-a"))
    await fresh.close()
    assert (identity.pki / "servercert.pem").read_text() == after[after.index("-----BEGIN CERT") :]
    assert oct((identity.pki / "serverkey.pem").stat().st_mode)[-3:] == "600"
    assert (identity.pki / "qemu/server-cert.pem").read_text() == (identity.pki / "servercert.pem").read_text()
    assert await count(site.cloud.db) == 2


async def test_a_connection_that_outlives_its_certificate_is_made_anew(site: Site) -> None:
    """Also where the first that is heard of it is a refusal."""
    identity = await site.enroll("host-a", 3 * 3600.0, age_s=2 * 3600.0)
    link = site.link(identity)
    host_id = (await link.register(registration("host-a"))).host_id
    assert identity.renew_in_s(WORLD.now_us()) < 0 < (await site.enroll("host-b", 60.0)).renew_in_s(WORLD.now_us())
    key = new_key()
    identity.keep(key, await link.renew(make_request(key, "host-a")))
    old, new = await site.cloud.db.read(lambda tx: CERTIFICATES.list(tx, host_name="host-a", order="expires_at_us"))

    async def end(serial: str) -> None:
        await site.cloud.db.run(lambda tx: CERTIFICATES.update(tx, serial, expires_at_us=1))

    await end(old.serial)
    await link.read_wishes(host_id, 0, 0)
    key = new_key()
    identity.keep(key, await site.link(identity).renew(make_request(key, "host-a")))
    await end(new.serial)
    with pytest.raises(Unauthenticated):
        await link.read_wishes(host_id, 0, 0)
    await link.read_wishes(host_id, 0, 0)
    await link.close()


async def count(db: Database) -> int:
    return await db.read(lambda tx: CERTIFICATES.count(tx, host_name="host-a"))


async def test_a_host_goes_on_with_the_next_controller(site: Site, nursery: trio.Nursery) -> None:
    identity = await site.enroll("host-a")
    link = site.link(identity, "https://127.0.0.1:9", site.url)
    for attempt in range(2):
        try:
            await link.register(registration("host-a"))
            break
        except Unavailable:
            assert attempt == 0
    assert link.urls[0] == site.url
    await link.close()


async def test_joining_over_the_wire(site: Site) -> None:
    client, key, secret = site.client(), new_key(), new_secret(site.cloud.world)
    authority = json.loads((await client.exchange("GET", "/join/v1/authority")).body)
    assert authority == {"certificate": site.authority.cert_pem}

    async def join(name: str, request: str, token: str = secret) -> int:
        body = json.dumps({"token": token, "name": name, "request": request}).encode()
        return (await client.exchange("POST", "/join/v1/hosts", body)).status

    good = make_request(key, "host-a")
    assert await join("host-a", good) == 401
    await site.cloud.db.run(create_token, site.cloud.admin_context(), secret, expires_s=3600.0, uses=1)
    assert await join("host-a", "nonsense") == 400
    assert await join("host-a", good.replace("A", "B")) == 400
    assert await join("../etc", good) == 400
    assert [await join("host-a", good) for _twice in range(2)] == [200, 200], "a lost answer can be asked for again"
    assert await join("host-a", make_request(new_key(), "host-a")) == 409
    assert await join("host-b", make_request(new_key(), "host-b")) == 401
    await client.close()


class CountedTurns(Turns):
    """Notes in which round each begins."""

    def __init__(self, round_most: int) -> None:
        super().__init__(waiting_most=1000, waiting_most_s=60, round_most=round_most)
        self.begun: list[int] = []
        self._round = 0

    def begin(self) -> bool:
        began = super().begin()
        if began:
            self.begun.append(self._round)
        return began

    async def wait(self, key: str) -> None:
        await super().wait(key)
        self.begun.append(self._round)

    def _begin_round(self) -> None:
        self._round += 1
        super()._begin_round()


async def test_a_crowd_of_newcomers_shakes_hands_in_turn(site: Site) -> None:
    """Few in a round of the loop, so that requests come in between; and all of them in the end."""
    site.cloud.gate.shedder.handshakes = turns = CountedTurns(round_most=2)
    statuses: list[int] = []

    async def come() -> None:
        client = site.client()
        statuses.append((await client.exchange("GET", "/healthz")).status)
        await client.close()

    with trio.fail_after(120):
        async with trio.open_nursery() as nursery:
            for _ in range(40):
                nursery.start_soon(come)
    assert statuses == [200] * 40
    # Two may be let in just before and two just after the same step of the loop.
    assert len(turns.begun) == 40 and max(Counter(turns.begun).values()) <= 4
    assert turns.waiting == 0


async def test_who_says_nothing_keeps_nobody_from_shaking_hands(site: Site) -> None:
    site.cloud.gate.shedder.handshakes = turns = CountedTurns(round_most=1)
    port = int(site.url.rpartition(":")[2])
    silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
    client = site.client()
    with trio.fail_after(60):
        assert (await client.exchange("GET", "/healthz")).status == 200
    assert len(turns.begun) == 1 and turns.waiting == 0
    await client.close()
    for stream in silent:
        await trio.aclose_forcefully(stream)


async def test_too_many_newcomers_are_turned_away_and_who_is_there_stays(site: Site) -> None:
    client = site.client()
    assert (await client.exchange("GET", "/healthz")).status == 200
    site.cloud.gate.shedder.handshakes = turns = Turns(waiting_most=0, waiting_most_s=60, round_most=0)
    newcomer = site.client()
    with trio.fail_after(60):
        with pytest.raises(Unavailable):
            await newcomer.exchange("GET", "/healthz")
        assert turns.refused >= 1
        assert (await client.exchange("GET", "/healthz")).status == 200
    await newcomer.close()
    await client.close()
