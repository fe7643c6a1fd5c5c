"""Volume types over HTTP: records, extra specs, access, encryption, qualities of service, and what comes of them on hosts."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.qos import back_end_limits, front_end_limits
from ostro.model.volumes import CEPH, LOCAL, storage_trait
from ostro.model.wishes import Noun
from ostro.services.block.types import ensure_ceph_type
from ostro.store.volume_types import TYPE_ENCRYPTIONS
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

TYPES = "/volume/v3/types"
VOLUMES = "/volume/v3/volumes"
SNAPSHOTS = "/volume/v3/snapshots"
QOS = "/volume/v3/qos-specs"
NEWEST = {"OpenStack-API-Version": "volume 3.71"}


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host with Ceph, in a cloud that has it; an image and a flavor."""
    await cloud.db.run(ensure_ceph_type, 1)
    await cloud.db.run(put_image)
    flavor = {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}
    await cloud.as_admin.post("/compute/v2.1/flavors", {"flavor": flavor})
    return await add_host(cloud, traits=[storage_trait(CEPH), storage_trait(LOCAL)])


async def make_type(cloud: TestCloud, name: str = "gold", **more: Any) -> str:
    answer = await cloud.as_admin.post(TYPES, {"volume_type": {"name": name, **more}})
    assert answer.status == 200, answer.body
    return str(answer.json["volume_type"]["id"])


async def boot(client: ApiClient, **more: Any) -> Answer:
    server = {"name": "s", "flavorRef": "f", "networks": "none", **more}
    headers = {"OpenStack-API-Version": "compute 2.89"}
    return await client.post("/compute/v2.1/servers", {"server": server}, headers=headers)


async def make_encrypted(cloud: TestCloud, name: str = "secret", **more: Any) -> str:
    type_id = await make_type(cloud, name, extra_specs={"volume_backend_name": "ceph"})
    body = {"encryption": {"provider": "luks", "control_location": "front-end", **more}}
    answer = await cloud.as_admin.post(f"{TYPES}/{type_id}/encryption", body)
    assert answer.status == 200, answer.body
    return type_id


async def make_volume(client: ApiClient, **more: Any) -> Answer:
    return await client.post(VOLUMES, {"volume": {"size": 1, **more}})


async def test_types_are_made_changed_and_deleted(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    type_id = await make_type(cloud, description="quick", extra_specs={"a": "1"})
    shown = (await admin.get(f"{TYPES}/{type_id}")).json["volume_type"]
    assert shown == {
        "id": type_id,
        "name": "gold",
        "description": "quick",
        "is_public": True,
        "os-volume-type-access:is_public": True,
        "extra_specs": {"a": "1"},
        "qos_specs_id": None,
    }
    member = await cloud.add_user("ann", "red")
    assert "extra_specs" not in (await member.get(f"{TYPES}/gold")).json["volume_type"]
    assert (await admin.post(TYPES, {"volume_type": {"name": "gold"}})).status == 409
    assert (await admin.post(TYPES, {"volume_type": {"name": " "}})).status == 400
    assert (await admin.post(TYPES, {"volume_type": {"name": "x", "unknown": 1}})).status == 400
    assert (await member.post(TYPES, {"volume_type": {"name": "x"}})).status == 403
    changed = await admin.put(f"{TYPES}/{type_id}", {"volume_type": {"name": "silver", "description": ""}})
    assert (changed.status, changed.json["volume_type"]["name"]) == (200, "silver")
    assert (await admin.put(f"{TYPES}/{type_id}", {"volume_type": {}})).status == 400
    assert (await admin.put(f"{TYPES}/{type_id}", {"volume_type": {"name": "local"}})).status == 409
    assert (await admin.delete(f"{TYPES}/{type_id}")).status == 202
    assert (await admin.get(f"{TYPES}/{type_id}")).status == 404
    assert (await admin.delete(f"{TYPES}/{type_id}")).status == 404


async def test_the_default_type_stays(cloud: TestCloud) -> None:
    assert (await cloud.as_admin.delete(f"{TYPES}/local")).status == 400
    assert (await cloud.as_admin.put(f"{TYPES}/local", {"volume_type": {"name": "other"}})).status == 400


async def test_types_are_listed_in_pages(cloud: TestCloud) -> None:
    ids = {await make_type(cloud, f"type-{n}") for n in range(3)}
    seen: list[str] = []
    path = f"{TYPES}?limit=2&sort=name:asc"
    while path:
        page = (await cloud.as_admin.get(path)).json
        seen += [kind["id"] for kind in page["volume_types"]]
        links = page.get("volume_type_links")
        path = links[0]["href"].partition("/volume/v3")[2] if links else ""
        path = f"/volume/v3{path}" if path else ""
    assert len(seen) == 4
    assert ids < set(seen)


async def test_extra_specs(cloud: TestCloud, host: SimHost) -> None:
    admin, path = cloud.as_admin, f"{TYPES}/{await make_type(cloud)}/extra_specs"
    given = {"extra_specs": {"volume_backend_name": "ceph", "b": "2"}}
    assert (await admin.post(path, given)).json == given
    assert (await admin.put(f"{path}/b", {"b": "3"})).json == {"b": "3"}
    assert (await admin.put(f"{path}/b", {"c": "3"})).status == 400
    assert (await admin.get(f"{path}/b")).json == {"b": "3"}
    assert (await admin.delete(f"{path}/b")).status == 202
    assert (await admin.get(f"{path}/b")).status == 404
    assert (await admin.delete(f"{path}/b")).status == 404
    assert (await admin.post(path, {"extra_specs": {"volume_backend_name": "tape"}})).status == 400
    assert (await make_volume(admin, volume_type="gold")).status == 202
    refused = await admin.delete(f"{path}/volume_backend_name")
    assert refused.status == 400
    assert "in use" in refused.json["badRequest"]["message"]
    assert (await admin.delete(f"{TYPES}/gold")).status == 400


async def test_a_private_type_is_for_those_who_were_given_it(cloud: TestCloud, host: SimHost) -> None:
    admin, member = cloud.as_admin, await cloud.add_user("ann", "red")
    red = (await admin.get("/identity/v3/projects?name=red")).json["projects"][0]["id"]
    private: dict[str, Any] = {"os-volume-type-access:is_public": False}
    type_id = await make_type(cloud, **private)
    access = f"{TYPES}/{type_id}/os-volume-type-access"
    assert (await member.get(f"{TYPES}/{type_id}")).status == 404
    assert (await make_volume(member, volume_type="gold")).status == 404
    give = {"addProjectAccess": {"project": red}}
    assert (await admin.post(f"{TYPES}/{type_id}/action", give)).status == 202
    assert (await admin.post(f"{TYPES}/{type_id}/action", give)).status == 409
    pairs = (await admin.get(access)).json["volume_type_access"]
    assert pairs == [{"volume_type_id": type_id, "project_id": red}]
    assert [kind["name"] for kind in (await member.get(TYPES)).json["volume_types"]] == ["ceph", "gold", "local"]
    assert (await make_volume(member, volume_type="gold")).status == 202
    take = {"removeProjectAccess": {"project": red}}
    assert (await admin.post(f"{TYPES}/{type_id}/action", take)).status == 202
    assert (await admin.post(f"{TYPES}/{type_id}/action", take)).status == 404
    assert (await make_volume(member, volume_type="gold")).status == 404
    assert (await member.post(f"{TYPES}/{type_id}/action", give)).status == 403
    assert (await admin.post(f"{TYPES}/local/action", give)).status == 400
    assert (await admin.get(f"{TYPES}/local/os-volume-type-access")).status == 404


async def test_encryption_of_a_type(cloud: TestCloud, host: SimHost) -> None:
    admin, type_id = cloud.as_admin, await make_type(cloud)
    path = f"{TYPES}/{type_id}/encryption"
    assert (await admin.get(path)).json == {}
    luks = {"provider": "luks", "control_location": "front-end", "cipher": "aes-xts-plain64", "key_size": 256}
    for wrong in ({"provider": "rot13"}, {"cipher": "des"}, {"key_size": 100}):
        assert (await admin.post(path, {"encryption": {**luks, **wrong}})).status == 400, wrong
    made = await admin.post(path, {"encryption": luks})
    assert made.status == 200, made.body
    encryption_id = made.json["encryption"]["encryption_id"]
    assert (await admin.post(path, {"encryption": luks})).status == 400
    shown = (await admin.get(path)).json
    assert {name: shown[name] for name in luks} == luks
    assert shown["encryption_id"] == encryption_id
    assert (await admin.get(f"{path}/cipher")).json == {"cipher": "aes-xts-plain64"}
    assert (await admin.get(f"{path}/nothing")).status == 404
    changed = await admin.put(f"{path}/{encryption_id}", {"encryption": {"key_size": 512}})
    assert changed.json["encryption"]["key_size"] == 512
    assert (await admin.put(f"{path}/other", {"encryption": {"key_size": 256}})).status == 404
    assert (await make_volume(admin, volume_type=type_id)).status == 202
    assert (await admin.put(f"{path}/{encryption_id}", {"encryption": {"key_size": 256}})).status == 400
    assert (await admin.delete(f"{path}/{encryption_id}")).status == 400
    assert (await (await cloud.add_user("ann", "red")).get(path)).status == 403
    other = await make_encrypted(cloud)
    found = (await admin.get(f"{TYPES}/{other}/encryption")).json["encryption_id"]
    assert (await admin.delete(f"{TYPES}/{other}/encryption/{found}")).status == 202
    assert (await admin.get(f"{TYPES}/{other}/encryption")).json == {}


@pytest.mark.parametrize("provider", ["luks2", "os_brick.encryptors.luks.Luks2Encryptor"])
async def test_luks_2_is_refused_where_it_would_be_promised(cloud: TestCloud, host: SimHost, provider: str) -> None:
    """Of a type in Ceph too, and by a volume if an earlier release let its type have it."""
    admin, type_id = cloud.as_admin, await make_encrypted(cloud)
    found = (await admin.get(f"{TYPES}/{type_id}/encryption")).json["encryption_id"]
    refused = await admin.put(f"{TYPES}/{type_id}/encryption/{found}", {"encryption": {"provider": provider}})
    assert refused.status == 400
    assert f"{provider} is not a provider of encryption here; luks is." in refused.json["badRequest"]["message"]
    body = {"encryption": {"provider": provider, "control_location": "front-end"}}
    other = await make_type(cloud, "other", extra_specs={"volume_backend_name": "ceph"})
    assert (await admin.post(f"{TYPES}/{other}/encryption", body)).status == 400
    await cloud.db.run(lambda tx: TYPE_ENCRYPTIONS.update(tx, type_id, provider=provider))
    assert (await make_volume(admin, volume_type="secret")).status == 400
    assert (await admin.get(VOLUMES)).json["volumes"] == []
    right = await admin.put(f"{TYPES}/{type_id}/encryption/{found}", {"encryption": {"provider": "luks"}})
    assert right.status == 200
    assert (await make_volume(admin, volume_type="secret")).status == 202


async def test_the_key_of_an_encrypted_volume_is_for_its_host_while_it_needs_it(
    cloud: TestCloud, host: SimHost
) -> None:
    await make_encrypted(cloud)
    other = await add_host(cloud, "host-b")
    made = await make_volume(cloud.as_admin, volume_type="secret")
    volume_id = made.json["volume"]["id"]
    assert made.json["volume"]["encrypted"]
    await host.read_wishes()
    _generation, wish = host.wished[Noun.VOLUME, volume_id]
    assert wish["encryption"] == {"format": "luks", "cipher": "aes-xts-plain64", "key_bits": 256}

    def path(of: SimHost) -> str:
        return f"/agent/v1/hosts/{of.host_id}/volumes/{volume_id}/key"

    key = (await host.client.get(path(host))).json["passphrase"]
    assert len(key) == 64
    assert key not in str(wish)
    assert (await other.client.get(path(other))).status == 409
    await converge(cloud, host, other)
    assert (await host.client.get(path(host))).status == 409, "it is made, and plugged in nowhere"
    shown = (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}", headers=NEWEST)).json["volume"]
    encryption = (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}/encryption")).json
    assert encryption["encryption_key_id"] == shown["encryption_key_id"]
    assert encryption["provider"] == "luks"
    assert (await cloud.as_admin.get(f"{VOLUMES}/{volume_id}/encryption/cipher")).json == {"cipher": "aes-xts-plain64"}
    rows = await cloud.db.read(lambda tx: tx.all("SELECT sealed, salt FROM volume_keys"))
    assert key not in str(rows)


async def test_the_key_is_also_for_the_host_that_a_server_is_moving_to(cloud: TestCloud, host: SimHost) -> None:
    await make_encrypted(cloud)
    traits = [storage_trait(CEPH), storage_trait(LOCAL)]
    target, other = [await add_host(cloud, name, traits=traits) for name in ("host-b", "host-c")]
    volume_id = (await make_volume(cloud.as_admin, volume_type="secret")).json["volume"]["id"]
    admin = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.89")
    made = await boot(cloud.as_admin, imageRef=IMAGE_ID, availability_zone="nova:host-a")
    await converge(cloud, host, target, other)
    server = f"/compute/v2.1/servers/{made.json['server']['id']}"
    attached = await admin.post(f"{server}/os-volume_attachments", {"volumeAttachment": {"volumeId": volume_id}})
    assert attached.status == 200, attached.body
    await converge(cloud, host, target, other)

    async def ask(of: SimHost) -> int:
        return (await of.client.get(f"/agent/v1/hosts/{of.host_id}/volumes/{volume_id}/key")).status

    assert [await ask(of) for of in (host, target, other)] == [200, 409, 409]
    moved = await admin.post(f"{server}/action", {"os-migrateLive": {"host": "host-b", "block_migration": "auto"}})
    assert moved.status == 202, moved.body
    assert [await ask(of) for of in (host, target, other)] == [200, 200, 409]


async def test_a_copy_is_encrypted_as_its_source_is(cloud: TestCloud, host: SimHost) -> None:
    await make_encrypted(cloud)
    await make_encrypted(cloud, "longer", key_size=512)
    first = (await make_volume(cloud.as_admin, volume_type="secret")).json["volume"]["id"]
    await host.read_wishes()
    key = await _key(host, first)
    await converge(cloud, host)
    clone = (await make_volume(cloud.as_admin, source_volid=first)).json["volume"]
    assert (clone["volume_type"], clone["encrypted"]) == ("secret", True)
    await host.read_wishes()
    assert await _key(host, clone["id"]) == key
    for kind in ("longer", "ceph", "local"):
        assert (await make_volume(cloud.as_admin, source_volid=first, volume_type=kind)).status == 400
        body = {"os-retype": {"new_type": kind, "migration_policy": "on-demand"}}
        assert (await cloud.as_admin.post(f"{VOLUMES}/{first}/action", body)).status == 400


async def _key(host: SimHost, volume_id: str) -> str:
    answer = await host.client.get(f"/agent/v1/hosts/{host.host_id}/volumes/{volume_id}/key")
    assert answer.status == 200, answer.body
    return str(answer.json["passphrase"])


async def test_qos_specs(cloud: TestCloud) -> None:
    admin = cloud.as_admin
    body = {"qos_specs": {"name": "slow", "consumer": "front-end", "total_iops_sec": "100", "other": "x"}}
    made = await admin.post(QOS, body)
    assert made.status == 200, made.body
    qos_id = made.json["qos_specs"]["id"]
    specs = {"total_iops_sec": "100", "other": "x"}
    shown = {"id": qos_id, "name": "slow", "consumer": "front-end", "specs": specs}
    assert made.json["qos_specs"] == shown
    assert (await admin.get(f"{QOS}/{qos_id}")).json["qos_specs"] == shown
    assert (await admin.get(QOS)).json["qos_specs"] == [shown]
    assert (await admin.post(QOS, body)).status == 409
    assert (await admin.post(QOS, {"qos_specs": {"consumer": "both"}})).status == 400
    assert (await admin.post(QOS, {"qos_specs": {"name": "x", "consumer": "nobody"}})).status == 400
    assert (await (await cloud.add_user("ann", "red")).get(QOS)).status == 403
    changed = {"qos_specs": {"read_iops_sec": "5"}}
    assert (await admin.put(f"{QOS}/{qos_id}", changed)).json == changed
    assert (await admin.put(f"{QOS}/{qos_id}/delete_keys", {"keys": ["other", "nothing"]})).status == 404
    assert (await admin.put(f"{QOS}/{qos_id}/delete_keys", {"keys": ["other"]})).status == 202
    specs = (await admin.get(f"{QOS}/{qos_id}")).json["qos_specs"]["specs"]
    assert specs == {"total_iops_sec": "100", "read_iops_sec": "5"}

    type_id = await make_type(cloud)
    assert (await admin.get(f"{QOS}/{qos_id}/associate")).status == 400
    assert (await admin.get(f"{QOS}/{qos_id}/associate?vol_type_id=nothing")).status == 404
    assert (await admin.get(f"{QOS}/{qos_id}/associate?vol_type_id={type_id}")).status == 202
    found = (await admin.get(f"{QOS}/{qos_id}/associations")).json["qos_associations"]
    assert found == [{"association_type": "volume_type", "name": "gold", "id": type_id}]
    assert (await admin.get(f"{TYPES}/{type_id}")).json["volume_type"]["qos_specs_id"] == qos_id
    second = (await admin.post(QOS, {"qos_specs": {"name": "second"}})).json["qos_specs"]
    assert second["consumer"] == "back-end"
    assert (await admin.get(f"{QOS}/{second['id']}/associate?vol_type_id={type_id}")).status == 400
    assert (await admin.delete(f"{QOS}/{qos_id}")).status == 400
    assert (await admin.get(f"{QOS}/{qos_id}/disassociate?vol_type_id={type_id}")).status == 202
    assert (await admin.get(f"{QOS}/{qos_id}/associate?vol_type_id={type_id}")).status == 202
    assert (await admin.get(f"{QOS}/{qos_id}/disassociate_all")).status == 202
    assert (await admin.get(f"{QOS}/{qos_id}/associations")).json["qos_associations"] == []
    assert (await admin.get(f"{QOS}/{qos_id}/associate?vol_type_id={type_id}")).status == 202
    assert (await admin.delete(f"{QOS}/{qos_id}?force=true")).status == 202
    assert (await admin.get(f"{TYPES}/{type_id}")).json["volume_type"]["qos_specs_id"] is None
    assert (await admin.get(f"{QOS}/{qos_id}")).status == 404


async def test_limits_reach_the_host_of_the_volume_and_that_of_its_server(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    await make_type(cloud, extra_specs={"volume_backend_name": "ceph"})
    qos = {"name": "slow", "consumer": "both", "total_iops_sec": "100", "read_bytes_sec_per_gb": "1000"}
    qos_id = (await admin.post(QOS, {"qos_specs": qos})).json["qos_specs"]["id"]
    assert (await admin.get(f"{QOS}/{qos_id}/associate?vol_type_id=gold")).status == 202
    volume_id = (await make_volume(admin, volume_type="gold", size=3)).json["volume"]["id"]
    await converge(cloud, host)
    limits = {"read_bytes_sec": 3000, "total_iops_sec": 100}
    assert host.things[Noun.VOLUME, volume_id]["limits"] == limits

    server_id = (await boot(admin, imageRef=IMAGE_ID)).json["server"]["id"]
    await converge(cloud, host)
    body = {"volumeAttachment": {"volumeId": volume_id}}
    assert (await admin.post(f"/compute/v2.1/servers/{server_id}/os-volume_attachments", body)).status == 200
    await converge(cloud, host)
    [attachment] = host.things[Noun.SERVER, server_id]["attachments"]
    assert attachment["limits"] == limits
    body = {"os-retype": {"new_type": "ceph"}}
    refused = await admin.post(f"{VOLUMES}/{volume_id}/action", body)
    assert refused.status == 400, "the hypervisor holds it to limits"

    back = {"qos_specs": {"consumer": "back-end"}}
    assert (await admin.put(f"{QOS}/{qos_id}", back)).status == 200
    assert (await admin.post(f"{VOLUMES}/{volume_id}/action", body)).status == 202
    await converge(cloud, host)
    assert host.things[Noun.VOLUME, volume_id]["limits"] == {}


def test_limits_follow_from_specs() -> None:
    specs = {
        "total_iops_sec_per_gb": "5",
        "total_iops_sec_per_gb_min": "100",
        "read_bytes_sec_max": "7",
        "size_iops_sec": "4096",
        "write_iops_sec": "many",
        "vendor:thing": "1",
    }
    assert front_end_limits("both", specs, 2) == {"total_iops_sec": 100, "read_bytes_sec_max": 7, "size_iops_sec": 4096}
    assert front_end_limits("front-end", specs, 40)["total_iops_sec"] == 200
    assert front_end_limits("back-end", specs, 2) == {}
    assert back_end_limits("back-end", specs, 2) == {"total_iops_sec": 100, "read_bytes_sec_max": 7}
    assert back_end_limits("front-end", specs, 2) == {}


async def test_a_server_boots_from_a_snapshot(cloud: TestCloud, host: SimHost) -> None:
    admin = cloud.as_admin
    volume_id = (await make_volume(admin, imageRef=IMAGE_ID)).json["volume"]["id"]
    blank_id = (await make_volume(admin)).json["volume"]["id"]
    await converge(cloud, host)
    snapshots = []
    for id_ in (volume_id, blank_id):
        answer = await admin.post(SNAPSHOTS, {"snapshot": {"volume_id": id_}})
        snapshots.append(answer.json["snapshot"]["id"])
    await converge(cloud, host)

    async def try_boot(snapshot_id: str, **more: Any) -> Answer:
        mapping = {"source_type": "snapshot", "destination_type": "volume", "uuid": snapshot_id, "boot_index": 0}
        return await boot(admin, block_device_mapping_v2=[{**mapping, **more}])

    assert (await try_boot("f0000000-0000-4000-8000-000000000000")).status == 400
    assert (await try_boot(snapshots[1])).status == 400, "that volume is not bootable"
    answer = await try_boot(snapshots[0], delete_on_termination=True)
    assert answer.status == 202, answer.body
    server_id = answer.json["server"]["id"]
    await converge(cloud, host)
    wish = host.things[Noun.SERVER, server_id]
    made = host.things[Noun.VOLUME, wish["root_volume_id"]]
    assert (made["source_snapshot_id"], made["size_gb"]) == (snapshots[0], 1)
    assert (await admin.get(f"/compute/v2.1/servers/{server_id}")).json["server"]["status"] == "ACTIVE"
    await admin.delete(f"/compute/v2.1/servers/{server_id}")
    await converge(cloud, host)
    assert (Noun.VOLUME, wish["root_volume_id"]) not in host.things


async def test_a_server_that_boots_from_a_snapshot_in_files_goes_where_the_volume_is(
    cloud: TestCloud, host: SimHost
) -> None:
    other = await add_host(cloud, "host-b", traits=[storage_trait(CEPH), storage_trait(LOCAL)])
    volume_id = (await make_volume(cloud.as_admin, imageRef=IMAGE_ID, volume_type="local")).json["volume"]["id"]
    await converge(cloud, host, other)
    home = host if (Noun.VOLUME, volume_id) in host.things else other
    snapshot_id = (await cloud.as_admin.post(SNAPSHOTS, {"snapshot": {"volume_id": volume_id}})).json["snapshot"]["id"]
    await converge(cloud, host, other)
    mapping = {"source_type": "snapshot", "destination_type": "volume", "uuid": snapshot_id, "boot_index": 0}
    for _ in range(3):
        answer = await boot(cloud.as_admin, block_device_mapping_v2=[mapping])
        await converge(cloud, host, other)
        assert (Noun.SERVER, answer.json["server"]["id"]) in home.things
