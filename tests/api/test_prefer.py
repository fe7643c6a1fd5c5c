"""``Prefer: wait=N``: the answer comes when the object has settled, or when the time is over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from ostro.http.settling import WAIT_MOST_S, wait_of
from ostro.store.images import IMAGES
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image
from ostro.testing.served import PATIENCE_S, head, serve_cloud

SERVERS = "/compute/v2.1/servers"
VOLUMES = "/volume/v3/volumes"
PORTS = "/networking/v2.0/ports"
LONG = {"Prefer": "wait=60"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 512, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post("/compute/v2.1/flavors", flavor)).status == 200
    return host


def compute(cloud: TestCloud) -> ApiClient:
    return cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")


def body() -> dict[str, Any]:
    return {"server": {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"}}


async def while_waiting(
    cloud: TestCloud, ask: Callable[[], Awaitable[Answer]], act: Callable[[], Awaitable[None]]
) -> Answer:
    """What ``ask`` is answered when ``act`` is done while it waits."""
    answers: list[Answer] = []

    async def wait() -> None:
        answers.append(await ask())

    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            while not cloud.cloud.changes._subscriptions:
                await trio.lowlevel.checkpoint()
            assert not answers
            await act()
    return answers[0]


async def test_a_server_is_answered_when_it_is_active(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud)
    answer = await while_waiting(
        cloud, lambda: client.post(SERVERS, body(), headers=LONG), lambda: converge(cloud, host)
    )
    assert answer.status == 202
    assert answer.headers["Preference-Applied"] == "wait=60"
    server = answer.json["server"]
    assert server["status"] == "ACTIVE"
    assert server["adminPass"], "what only the creation's answer has is there too"
    at_once = await client.get(f"{SERVERS}/{server['id']}", headers=LONG)
    assert at_once.headers["Preference-Applied"] == "wait=60"


async def test_a_show_waits_for_the_task_to_end(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud)
    server_id = (await client.post(SERVERS, body())).json["server"]["id"]
    await converge(cloud, host)
    await client.post(f"{SERVERS}/{server_id}/action", {"os-stop": None})
    path = f"{SERVERS}/{server_id}"
    answer = await while_waiting(cloud, lambda: client.get(path, headers=LONG), lambda: converge(cloud, host))
    assert answer.json["server"]["status"] == "SHUTOFF"


async def test_a_failure_settles_too(cloud: TestCloud, host: SimHost) -> None:
    async def give_up() -> None:
        (server,) = (await compute(cloud).get(SERVERS)).json["servers"]
        host.failing[server["id"]] = "No such disk."
        await converge(cloud, host)

    answer = await while_waiting(cloud, lambda: compute(cloud).post(SERVERS, body(), headers=LONG), give_up)
    assert (answer.status, answer.json["server"]["status"]) == (202, "ERROR")


async def test_what_is_deleted_meanwhile_is_not_found(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud)
    server_id = (await client.post(SERVERS, body())).json["server"]["id"]

    async def delete() -> None:
        await client.delete(f"{SERVERS}/{server_id}")
        await converge(cloud, host)

    answer = await while_waiting(cloud, lambda: client.get(f"{SERVERS}/{server_id}", headers=LONG), delete)
    assert answer.status == 404


async def test_time_runs_out(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud)
    answer = await client.post(SERVERS, body(), headers={"Prefer": "wait=0"})
    assert (answer.status, answer.headers["Preference-Applied"]) == (202, "wait=0")
    assert answer.json["server"]["status"] == "BUILD"


async def test_volumes_and_ports_and_images(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    answer = await while_waiting(
        cloud, lambda: admin.post(VOLUMES, {"volume": {"size": 1}}, headers=LONG), lambda: converge(cloud, host)
    )
    assert answer.json["volume"]["status"] == "available"
    network = (await admin.post("/networking/v2.0/networks", {"network": {"name": "n"}})).json["network"]
    port = await admin.post(PORTS, {"port": {"network_id": network["id"]}}, headers=LONG)
    assert (port.status, port.json["port"]["status"]) == (201, "DOWN"), "nobody will plug it in"
    assert port.headers["Preference-Applied"] == "wait=60"
    image = await admin.post("/image/v2/images", {"disk_format": "raw", "container_format": "bare"}, headers=LONG)
    assert (image.status, image.json["status"]) == (201, "queued")
    path = f"/image/v2/images/{image.json['id']}"

    async def activate() -> None:
        await cloud.db.run(lambda tx: IMAGES.update(tx, image.json["id"], status="active", size_bytes=1))

    shown = await while_waiting(cloud, lambda: admin.get(path, headers=LONG), activate)
    assert shown.json["status"] == "active"


async def test_with_a_key_the_repeat_waits_too(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud).with_headers(Idempotency_Key="k")
    first = (await client.post(SERVERS, body())).json["server"]["id"]
    answer = await while_waiting(
        cloud, lambda: client.post(SERVERS, body(), headers=LONG), lambda: converge(cloud, host)
    )
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert (answer.json["server"]["id"], answer.json["server"]["status"]) == (first, "ACTIVE")


async def test_errors_and_other_preferences_are_as_ever(cloud: TestCloud, host: SimHost) -> None:
    client = compute(cloud)
    assert (await client.get(f"{SERVERS}/nothing", headers=LONG)).status == 404
    assert (await client.post(SERVERS, {"server": {}}, headers=LONG)).status == 400
    answer = await client.post(SERVERS, body(), headers={"Prefer": "respond-async"})
    assert (answer.status, "Preference-Applied" in answer.headers) == (202, False)
    assert "Preference-Applied" not in (await client.get(SERVERS, headers=LONG)).headers


@pytest.mark.parametrize("expect", ["", "100-continue"])
async def test_a_client_that_leaves_ends_the_wait(cloud: TestCloud, host: SimHost, expect: str) -> None:
    """Through both ways in."""
    sent = b'{"volume": {"size": 1}}'
    listeners = cloud.cloud.changes._subscriptions
    async with serve_cloud(cloud) as served:
        with trio.fail_after(PATIENCE_S):
            async with served.connect() as client:
                headers = {"X-Auth-Token": cloud.as_admin.token, "Content-Length": str(len(sent)), "Expect": expect}
                await client.send(head("POST", VOLUMES, {**headers, **LONG}) + sent)
                while not listeners:
                    await trio.lowlevel.checkpoint()
            while listeners:
                await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("wait=10", 10),
        ("respond-async, wait=5", 5),
        ("wait = 7; x=1", 7),
        ('wait="3"', 3),
        ("WAIT=99999", WAIT_MOST_S),
        ("await=5", None),
        ("wait=-1", None),
        ("wait=1.5", None),
        ("", None),
    ],
)
def test_the_header_is_read(text: str, wait_s: int | None) -> None:
    assert wait_of(text) == wait_s
