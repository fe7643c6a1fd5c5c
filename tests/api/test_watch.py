"""``?watch=``: every change as an event, to whom it concerns, also after a break."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from werkzeug.datastructures import Headers, MultiDict

from ostro.http import watch
from ostro.http.settling import show_one
from ostro.store.changes import forget_gone, mark_reached, read_news
from ostro.store.servers import SERVERS
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.served import PATIENCE_S, RawClient, Served, ServerEvent, head, serve_cloud
from ostro.testing.servers import put_server

SERVERS_PATH = "/compute/v2.1/servers"
PORTS = "/networking/v2.0/ports"
NETWORKS = "/networking/v2.0/networks"
VOLUMES = "/volume/v3/volumes"
IMAGES = "/image/v2/images"


@pytest.fixture
async def served(cloud: TestCloud) -> AsyncIterator[Served]:
    async with serve_cloud(cloud) as running:
        yield running


@asynccontextmanager
async def watching(
    served: Served, client: ApiClient, path: str, since: str = "", *, last: str = "", expect: str = ""
) -> AsyncIterator[RawClient]:
    """A connection on which events arrive, once the watch has begun."""
    async with served.connect() as raw:
        separator = "&" if "?" in path else "?"
        headers = {"X-Auth-Token": client.token, "Last-Event-ID": last, "Expect": expect}
        headers["OpenStack-API-Version"] = "compute 2.79"
        await raw.send(head("GET", f"{path}{separator}watch={since}", headers))
        first = await raw.event()
        assert first is not None
        assert first.name == ""
        yield raw


async def project_id(client: ApiClient) -> str:
    shown = await client.get("/identity/v3/auth/tokens", headers={"X-Subject-Token": client.token})
    return str(shown.json["token"]["project"]["id"])


async def start(raw: RawClient) -> int:
    """The revision at which a watch from now on has begun."""
    event = await raw.event()
    assert event is not None
    assert event.name == ""
    return event.id


def told(events: list[ServerEvent], noun: str) -> list[tuple[str, str]]:
    return [(event.name, event.data[noun]["id"]) for event in events]


async def prepare(cloud: TestCloud) -> SimHost:
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 512, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post("/compute/v2.1/flavors", flavor)).status == 200
    return host


async def boot(client: ApiClient) -> str:
    body = {"server": {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"}}
    answer = await client.with_headers(OpenStack_API_Version="compute 2.79").post(SERVERS_PATH, body)
    assert answer.status == 202, answer.body
    return str(answer.json["server"]["id"])


@pytest.mark.parametrize("expect", ["", "100-continue"])
async def test_a_server_is_followed_from_birth_to_death(cloud: TestCloud, served: Served, expect: str) -> None:
    """Through both ways in."""
    host = await prepare(cloud)
    client = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")
    async with watching(served, client, SERVERS_PATH, expect=expect) as raw:
        begun = await start(raw)
        server_id = await boot(client)
        (first,) = await raw.events(1)
        assert (first.name, first.data["server"]["id"]) == ("changed", server_id)
        assert first.data["revision"] > begun
        await converge(cloud, host)
        event = first
        while event.data["server"]["status"] != "ACTIVE":
            (event,) = await raw.events(1)
        assert event.id == event.data["revision"]
        shown = (await client.get(f"{SERVERS_PATH}/{server_id}")).json["server"]
        assert {k: v for k, v in event.data["server"].items() if k not in ("links", "image")} == {
            k: v for k, v in shown.items() if k not in ("links", "image")
        }
        await client.delete(f"{SERVERS_PATH}/{server_id}")
        await converge(cloud, host)
        while event.name != "deleted":
            (event,) = await raw.events(1)
        assert event.data["server"] == {"id": server_id}


async def test_ports_volumes_and_images_too(cloud: TestCloud, served: Served) -> None:
    host = await prepare(cloud)
    network = (await cloud.as_admin.post(NETWORKS, {"network": {"name": "n"}})).json["network"]
    client = cloud.as_admin
    async with watching(served, client, PORTS) as ports, watching(served, client, VOLUMES) as volumes:
        port = (await client.post(PORTS, {"port": {"network_id": network["id"]}})).json["port"]
        assert told(await ports.events(1), "port") == [("changed", port["id"])]
        await client.delete(f"{PORTS}/{port['id']}")
        assert told(await ports.events(1), "port") == [("deleted", port["id"])]
        volume = (await client.post(VOLUMES, {"volume": {"size": 1}})).json["volume"]
        await converge(cloud, host)
        event = (await volumes.events(1))[0]
        while event.data["volume"]["status"] != "available":
            (event,) = await volumes.events(1)
        assert event.data["volume"]["id"] == volume["id"]
    async with watching(served, client, f"{VOLUMES}/{volume['id']}", "0") as one:
        assert told(await one.events(1), "volume") == [("changed", volume["id"])]
    async with watching(served, client, IMAGES) as images:
        made = await client.post(IMAGES, {"disk_format": "raw", "container_format": "bare"})
        assert told(await images.events(1), "image") == [("changed", made.json["id"])]
        await client.delete(f"{IMAGES}/{made.json['id']}")
        assert told(await images.events(1), "image") == [("deleted", made.json["id"])]


async def test_nothing_is_missed_during_a_break(cloud: TestCloud, served: Served) -> None:
    ann = await cloud.add_user("ann", "p1")
    async with watching(served, ann, NETWORKS.replace("networks", "ports")) as raw:
        begun = await start(raw)
    network = (await ann.post(NETWORKS, {"network": {"name": "n"}})).json["network"]
    made = [(await ann.post(PORTS, {"port": {"network_id": network["id"]}})).json["port"]["id"] for _ in range(3)]
    await ann.delete(f"{PORTS}/{made[0]}")
    expected = {("deleted", made[0]), ("changed", made[1]), ("changed", made[2])}
    async with watching(served, ann, PORTS, str(begun)) as raw:
        events = await raw.events(3)
    assert set(told(events, "port")) == expected
    assert [e.id for e in events] == sorted(e.id for e in events)
    async with watching(served, ann, PORTS, str(begun), last=str(events[1].id)) as raw:
        assert told(await raw.events(1), "port") == told(events[2:], "port")
    async with watching(served, ann, PORTS, "0") as raw:
        assert set(told(await raw.events(2), "port")) == {("changed", made[1]), ("changed", made[2])}
        assert (await start(raw)) >= events[2].id


async def test_a_list_says_its_revision(cloud: TestCloud, served: Served) -> None:
    ann = await cloud.add_user("ann", "p1")
    network = (await ann.post(NETWORKS, {"network": {"name": "n"}})).json["network"]
    await ann.post(PORTS, {"port": {"network_id": network["id"]}})
    listed = await ann.get(PORTS, headers={"Prefer": "revision"})
    assert listed.headers["Preference-Applied"] == "revision"
    assert "Ostro-Revision" not in (await ann.get(PORTS)).headers
    later = (await ann.post(PORTS, {"port": {"network_id": network["id"]}})).json["port"]
    async with watching(served, ann, PORTS, listed.headers["Ostro-Revision"]) as raw:
        assert told(await raw.events(1), "port") == [("changed", later["id"])]


async def test_tenants_hear_of_their_own_only(cloud: TestCloud, served: Served) -> None:
    ann, bob = await cloud.add_user("ann", "p1"), await cloud.add_user("bob", "p2")
    mine, other = await project_id(ann), await project_id(bob)
    async with (
        watching(served, ann, SERVERS_PATH) as anns,
        watching(served, cloud.as_admin, f"{SERVERS_PATH}?all_tenants=1") as all_,
    ):
        await cloud.db.run(put_server, id="theirs", project_id=other)
        await cloud.db.run(put_server, id="mine", project_id=mine)
        assert told(await all_.events(2), "server") == [("changed", "theirs"), ("changed", "mine")]
        assert told(await anns.events(1), "server") == [("changed", "mine")]
    assert (await ann.get(f"{SERVERS_PATH}?watch=0&all_tenants=1")).status == 403
    assert (await ann.get(f"{SERVERS_PATH}/theirs?watch=0")).status == 404
    async with watching(served, ann, SERVERS_PATH, "0") as raw:
        assert told(await raw.events(1), "server") == [("changed", "mine")]
        assert (await raw.event()) is not None


async def test_an_image_is_told_to_those_who_see_it(cloud: TestCloud, served: Served) -> None:
    admin, ann = cloud.as_admin, await cloud.add_user("ann", "p1")
    async with watching(served, ann, IMAGES) as raw:
        made = (await admin.post(IMAGES, {"disk_format": "raw", "container_format": "bare"})).json["id"]
        path, patch = f"{IMAGES}/{made}", {"Content-Type": "application/openstack-images-v2.1-json-patch"}

        async def be(visibility: str) -> None:
            change = [{"op": "replace", "path": "/visibility", "value": visibility}]
            assert (await admin.request("PATCH", path, change, headers=patch)).status == 200

        await be("public")
        assert told(await raw.events(1), "image") == [("changed", made)]
        await be("shared")
        assert told(await raw.events(1), "image") == [("deleted", made)]
        assert (await admin.post(f"{path}/members", {"member": await project_id(ann)})).status == 200
        assert told(await raw.events(1), "image") == [("changed", made)]
        await admin.delete(f"{path}/members/{await project_id(ann)}")
        assert told(await raw.events(1), "image") == [("deleted", made)]


async def test_a_port_of_a_server_changes_the_server(cloud: TestCloud, served: Served) -> None:
    admin = cloud.as_admin
    network = (await admin.post(NETWORKS, {"network": {"name": "n"}})).json["network"]
    mine = await project_id(admin)
    await cloud.db.run(put_server, id="s", project_id=mine)
    async with watching(served, admin, SERVERS_PATH) as raw:
        body = {"port": {"network_id": network["id"], "device_id": "s", "device_owner": "compute:nova"}}
        port = (await admin.post(PORTS, body)).json["port"]
        assert told(await raw.events(1), "server") == [("changed", "s")]
        await admin.delete(f"{PORTS}/{port['id']}")
        assert told(await raw.events(1), "server") == [("changed", "s")]


@pytest.mark.parametrize("since", ["-1", "x", "1.5", "9" * 30])
async def test_a_revision_is_a_number(cloud: TestCloud, since: str) -> None:
    assert (await cloud.as_admin.get(f"{SERVERS_PATH}?watch={since}")).status == 400


async def test_filters_and_revisions_that_cant_be_are_refused(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.get(f"{SERVERS_PATH}?watch=0&name=x")).status == 400
    future = await cloud.as_admin.get(f"{SERVERS_PATH}?watch=999999999999999999")
    assert future.status == 410
    assert (await cloud.anonymous.get(f"{SERVERS_PATH}?watch=0")).status == 401


async def test_a_revision_too_old_is_gone(cloud: TestCloud) -> None:
    await cloud.db.run(put_server, id="s", project_id="p")
    old = (await cloud.db.read(read_news, 0, 10)).reached
    await cloud.db.run(lambda tx: SERVERS.delete(tx, "s"))
    await cloud.db.run(put_server, id="t", project_id="p")
    await cloud.db.run(mark_reached, 5)
    await cloud.db.run(forget_gone, 6)
    answer = await cloud.as_admin.get(f"{SERVERS_PATH}?watch={old}")
    assert answer.status == 410
    assert "Prefer: revision" in next(iter(answer.json.values()))["message"]


async def test_the_end_of_the_token_ends_the_stream(
    cloud: TestCloud, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RECHECK_S", 0.05)
    ann = await cloud.add_user("ann", "p1")
    async with watching(served, ann, SERVERS_PATH) as raw:
        gone = await ann.delete("/identity/v3/auth/tokens", headers={"X-Subject-Token": ann.token})
        assert gone.status == 204
        (event,) = await raw.events(1)
        assert (event.name, event.data["code"]) == ("end", 401)
        assert await raw.event() is None


async def test_a_heartbeat_says_how_far_the_watch_has_come(
    cloud: TestCloud, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.05)
    ann = await cloud.add_user("ann", "p1")
    async with watching(served, ann, SERVERS_PATH) as raw:
        begun = await start(raw)
        await cloud.db.run(put_server, id="theirs", project_id="p2")
        with trio.fail_after(PATIENCE_S):
            while (await start(raw)) <= begun:
                pass


async def test_who_goes_away_is_forgotten_at_once(cloud: TestCloud, served: Served) -> None:
    listeners = cloud.cloud.changes._subscriptions
    async with watching(served, cloud.as_admin, SERVERS_PATH):
        assert len(listeners) == 1
    with trio.fail_after(PATIENCE_S):
        while listeners:
            await trio.lowlevel.checkpoint()


async def test_a_thousand_watchers_cost_one_read_a_change(cloud: TestCloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Watchers of one project, without sockets: what they are told is read once."""
    watchers = 1000
    mine = await project_id(cloud.as_admin)
    shown = 0
    plain = show_one

    async def counted(*args: Any) -> dict[str, Any]:
        nonlocal shown
        shown += 1
        return await plain(*args)

    monkeypatch.setattr("ostro.http.watch.show_one", counted)
    heard: list[bytes] = []
    began = 0
    everybody = trio.Event()

    async def follow() -> None:
        nonlocal began
        client = cloud.as_admin
        found = cloud.gate.find(SERVERS_PATH)
        answer = await cloud.gate.answer(Fake(client.token), found)  # type: ignore[arg-type]
        async for part in answer.body:  # type: ignore[union-attr]
            if b"id:" in part and b"event:" not in part:
                began += 1
                if began == watchers:
                    everybody.set()
            elif b"event:" in part:
                heard.append(part)
                return

    with trio.fail_after(PATIENCE_S * 3):
        async with trio.open_nursery() as nursery:
            for _ in range(watchers):
                nursery.start_soon(follow)
            await everybody.wait()
            await cloud.db.run(put_server, id="s", project_id=mine)
    assert len(heard) == watchers
    assert len(set(heard)) == 1
    assert shown == 1


class Fake:
    """A request that no socket has brought."""

    method, scheme, host, path, bodiless = "GET", "http", "test", SERVERS_PATH, True
    raw_path, query_string, content_length, mimetype, remote_addr = (
        SERVERS_PATH.encode(),
        b"watch=",
        None,
        "",
        "192.0.2.1",
    )

    def __init__(self, token: str) -> None:
        self.headers = Headers({"X-Auth-Token": token})
        self.args = MultiDict({"watch": ""})
        self.body = self._nothing()

    def has_gone(self) -> bool:
        return False

    async def _nothing(self) -> AsyncIterator[bytes]:
        return
        yield b""
