"""Volumes in several kinds of storage: types, placement, retype, and volumes in Ceph that travel to the servers of other hosts."""

from __future__ import annotations

from typing import Any

import pytest

from ostro.model.errors import Invalid
from ostro.model.volumes import CEPH, LOCAL, storage_trait
from ostro.model.wishes import Noun
from ostro.services.block.attachments import mark_attached, release, reserve
from ostro.services.block.types import ensure_ceph_type
from ostro.testing.cloud import Answer, ApiClient, TestCloud
from ostro.testing.hosts import SimHost, add_host, converge

VOLUMES = "/volume/v3/volumes"
BOTH = [storage_trait(CEPH), storage_trait(LOCAL)]


@pytest.fixture
async def host(cloud: TestCloud) -> SimHost:
    """A host with Ceph, in a cloud that has it."""
    await cloud.db.run(ensure_ceph_type, 1)
    return await add_host(cloud, traits=BOTH)


async def make(client: ApiClient, **more: Any) -> str:
    answer = await client.post(VOLUMES, {"volume": {"size": 1, **more}})
    assert answer.status == 202, answer.body
    return str(answer.json["volume"]["id"])


async def show(cloud: TestCloud, volume_id: str) -> dict[str, Any]:
    answer = await cloud.as_admin.get(f"{VOLUMES}/{volume_id}")
    assert answer.status == 200, answer.body
    shown: dict[str, Any] = answer.json["volume"]
    return shown


async def retype(client: ApiClient, volume_id: str, new_type: str, policy: str = "on-demand") -> Answer:
    body = {"os-retype": {"new_type": new_type, "migration_policy": policy}}
    return await client.post(f"{VOLUMES}/{volume_id}/action", body)


async def test_ceph_is_the_default_where_there_is_one(cloud: TestCloud, host: SimHost) -> None:
    await cloud.db.run(ensure_ceph_type, 2)
    assert (await cloud.as_admin.get("/volume/v3/types/default")).json["volume_type"]["name"] == CEPH
    for asked, backend in (({}, CEPH), ({"volume_type": LOCAL}, LOCAL)):
        volume_id = await make(cloud.as_admin, **asked)
        await converge(cloud, host)
        shown = await show(cloud, volume_id)
        assert (shown["status"], shown["volume_type"]) == ("available", backend)
        assert shown["os-vol-host-attr:host"] == f"host-a@{backend}#{backend}"
        assert host.things[Noun.VOLUME, volume_id]["backend"] == backend


async def test_a_volume_in_ceph_needs_a_host_that_has_it(cloud: TestCloud) -> None:
    await cloud.db.run(ensure_ceph_type, 1)
    host = await add_host(cloud)
    volume_id = await make(cloud.as_admin)
    assert (await show(cloud, volume_id))["status"] == "error"
    await host.register(traits=BOTH)
    assert (await show(cloud, await make(cloud.as_admin)))["status"] == "creating"
    await host.register(traits=[storage_trait(LOCAL)])
    assert (await show(cloud, await make(cloud.as_admin)))["status"] == "error"


async def test_retype_moves_a_volume(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud.as_admin, volume_type=LOCAL)
    await converge(cloud, host)
    assert (await retype(cloud.as_admin, volume_id, CEPH, "never")).status == 400
    assert (await retype(cloud.as_admin, volume_id, LOCAL)).status == 400
    assert (await retype(cloud.as_admin, volume_id, "no-such-type")).status == 404
    assert (await retype(cloud.as_admin, volume_id, CEPH)).status == 202
    shown = await show(cloud, volume_id)
    assert (shown["status"], shown["volume_type"]) == ("retyping", CEPH)
    assert (await retype(cloud.as_admin, volume_id, LOCAL)).status == 400
    await converge(cloud, host)
    assert (await show(cloud, volume_id))["status"] == "available"
    assert host.things[Noun.VOLUME, volume_id]["backend"] == CEPH


async def test_a_volume_that_can_not_be_moved_stays_as_it_was(cloud: TestCloud, host: SimHost) -> None:
    volume_id = await make(cloud.as_admin, volume_type=LOCAL)
    await converge(cloud, host)
    host.failing[volume_id] = "The other storage is full."
    assert (await retype(cloud.as_admin, volume_id, CEPH)).status == 202
    await host.sync()
    host.failing.clear()
    await converge(cloud, host)
    shown = await show(cloud, volume_id)
    assert (shown["status"], shown["volume_type"]) == ("available", LOCAL)
    assert host.things[Noun.VOLUME, volume_id]["backend"] == LOCAL


async def test_a_host_without_ceph_can_not_take_a_volume_there(cloud: TestCloud) -> None:
    await cloud.db.run(ensure_ceph_type, 1)
    host = await add_host(cloud)
    volume_id = await make(cloud.as_admin, volume_type=LOCAL)
    await converge(cloud, host)
    assert (await retype(cloud.as_admin, volume_id, CEPH)).status == 400


async def test_a_volume_in_ceph_is_lent_to_the_host_of_its_server(cloud: TestCloud, host: SimHost) -> None:
    other = await add_host(cloud, "host-b", traits=BOTH)
    context = cloud.admin_context()
    volume_id = await make(cloud.as_admin)
    await converge(cloud, host, other)
    owner, borrower = (host, other) if (Noun.VOLUME, volume_id) in host.things else (other, host)

    await cloud.db.run(reserve, context, volume_id, "server-1", "/dev/vdb", borrower.host_id)
    await converge(cloud, host, other)
    assert borrower.things[Noun.VOLUME, volume_id]["borrowed"]
    await cloud.db.run(mark_attached, "server-1", [volume_id], 5)
    assert (await show(cloud, volume_id))["status"] == "in-use"

    headers = {"OpenStack-API-Version": "volume 3.42"}
    body = {"os-extend": {"new_size": 3}}
    assert (await cloud.as_admin.post(f"{VOLUMES}/{volume_id}/action", body, headers=headers)).status == 202
    await converge(cloud, host, other)
    for one in (owner, borrower):
        assert one.things[Noun.VOLUME, volume_id]["size_gb"] == 3

    await cloud.db.run(release, volume_id, "server-1", 6)
    await converge(cloud, host, other)
    assert (Noun.VOLUME, volume_id) not in borrower.things
    assert (Noun.VOLUME, volume_id) in owner.things
    assert (await show(cloud, volume_id))["status"] == "available"


async def test_a_volume_is_not_lent_to_a_host_without_its_storage(cloud: TestCloud, host: SimHost) -> None:
    bare = await add_host(cloud, "host-b")
    in_ceph, in_files = await make(cloud.as_admin), await make(cloud.as_admin, volume_type=LOCAL)
    await converge(cloud, host, bare)
    stranger = host if (Noun.VOLUME, in_files) in bare.things else bare
    for volume_id, where, words in ((in_ceph, bare, "no access"), (in_files, stranger, "another host")):
        with pytest.raises(Invalid, match=words):
            await cloud.db.run(reserve, cloud.admin_context(), volume_id, "server-1", "/dev/vdb", where.host_id)
