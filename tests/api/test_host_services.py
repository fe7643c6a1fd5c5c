"""os-services: hosts are disabled, forced down, and removed when nothing is on them."""

from __future__ import annotations

from ostro.store.hosts import HOSTS
from ostro.testing.cloud import ApiClient, TestCloud
from ostro.testing.hosts import add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

SERVICES = "/compute/v2.1/os-services"


def at(client: ApiClient, version: str) -> ApiClient:
    return client.with_headers(OpenStack_API_Version=f"compute {version}")


async def test_a_host_is_forced_down_and_comes_back(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    admin = at(cloud.as_admin, "2.53")
    for _twice in range(2):
        answer = await admin.put(f"{SERVICES}/{host.host_id}", {"forced_down": True})
        assert answer.status == 200, answer.body
        assert (answer.json["service"]["forced_down"], answer.json["service"]["state"]) == (True, "down")
    assert (await host.client.get(f"/agent/v1/hosts/{host.host_id}/wishes?since=0")).status == 404
    await host.register()
    assert host.epoch == 2
    (service,) = (await admin.get(SERVICES)).json["services"]
    assert (service["forced_down"], service["state"], service["status"]) == (True, "down", "enabled")
    answer = await admin.put(f"{SERVICES}/{host.host_id}", {"forced_down": False})
    assert (answer.json["service"]["forced_down"], answer.json["service"]["state"]) == (False, "up")
    await host.sync()


async def test_the_older_way_to_force_a_host_down(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    body = {"host": host.name, "binary": "nova-compute", "forced_down": True}
    path = f"{SERVICES}/force-down"
    assert (await at(cloud.as_admin, "2.10").put(path, body)).status == 404
    answer = await at(cloud.as_admin, "2.11").put(path, body)
    assert (answer.status, answer.json) == (200, {"service": body})
    (service,) = (await at(cloud.as_admin, "2.11").get(SERVICES)).json["services"]
    assert service["forced_down"] is True
    assert "forced_down" not in (await at(cloud.as_admin, "2.10").get(SERVICES)).json["services"][0]
    assert (await at(cloud.as_admin, "2.11").put(path, {**body, "host": "nobody"})).status == 404
    assert (await at(cloud.as_admin, "2.11").put(path, {"host": host.name})).status == 400


async def test_disabling_tells_why(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    named = {"host": host.name, "binary": "nova-compute"}
    old = at(cloud.as_admin, "2.1")
    answer = await old.put(f"{SERVICES}/disable-log-reason", {**named, "disabled_reason": "fan"})
    assert answer.json["service"]["status"] == "disabled"
    (service,) = (await old.get(SERVICES)).json["services"]
    assert (service["status"], service["disabled_reason"]) == ("disabled", "fan")
    assert (await old.put(f"{SERVICES}/enable", named)).json["service"]["status"] == "enabled"
    assert (await old.get(SERVICES)).json["services"][0]["disabled_reason"] is None


async def test_a_host_is_removed_when_nothing_is_on_it(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    admin = at(cloud.as_admin, "2.53")
    path = f"{SERVICES}/{host.host_id}"
    await cloud.db.run(put_image)
    flavor = {"flavor": {"name": "small", "id": "f", "ram": 512, "vcpus": 1, "disk": 1}}
    assert (await cloud.as_admin.post("/compute/v2.1/flavors", flavor)).status == 200
    body = {"server": {"name": "web", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": "none"}}
    server = (await admin.post("/compute/v2.1/servers", body)).json["server"]["id"]
    await converge(cloud, host)
    refused = await admin.delete(path)
    assert refused.status == 409 and server in refused.body.decode()
    assert (await cloud.as_admin.delete(f"/compute/v2.1/servers/{server}")).status == 204
    await converge(cloud, host)
    assert (await admin.delete(path)).status == 204
    assert (await admin.delete(path)).status == 404
    assert (await admin.get(SERVICES)).json["services"] == []
    assert await cloud.db.read(lambda tx: HOSTS.find(tx, name=host.name)) is None
    await host.register()
    assert len((await admin.get(SERVICES)).json["services"]) == 1, "one that has no certificate may come again"


async def test_only_administrators_do_that(cloud: TestCloud) -> None:
    host = await add_host(cloud)
    member = at(await cloud.add_user("ann", "blue", "member"), "2.53")
    assert (await member.delete(f"{SERVICES}/{host.host_id}")).status == 403
    assert (await member.put(f"{SERVICES}/{host.host_id}", {"forced_down": True})).status == 403
