"""Resizing and cold migration of servers, over the API."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ostro.model.wishes import Noun
from ostro.services.sweeps import confirm_resizes
from ostro.testing.checkers.claims import check_claims
from ostro.testing.leaks import find_leaks
from ostro.testing.moving import COMPUTE, Lab


async def flavor_of(lab: Lab) -> tuple[str, int]:
    flavor = (await lab.show())["flavor"]
    return flavor["original_name"], flavor["vcpus"]


async def test_a_server_migrates_cold_and_is_confirmed(lab: Lab) -> None:
    source = await lab.where()
    assert (await lab.act("migrate", None, "2.1")).status == 202
    assert await lab.state() == ("RESIZE", "resize_prep")
    await lab.settle()
    target = await lab.where()
    assert target != source and await lab.state() == ("VERIFY_RESIZE", None)
    assert lab.hosts[source].things[Noun.SERVER, lab.id]["power"] == "off"
    assert {name: used for name, used in (await lab.used()).items() if used} == {source: 1, target: 1}
    assert (await lab.act("os-stop")).status == 409
    assert (await lab.act("confirmResize")).status == 204
    assert await lab.state() == ("ACTIVE", None)
    assert (await lab.act("confirmResize")).status == 409
    await lab.settle()
    [migration] = await lab.migrations()
    assert (migration["status"], migration["migration_type"]) == ("confirmed", "migration")
    await lab.check_whole()


async def test_a_cold_migration_to_a_named_host_is_reverted(lab: Lab) -> None:
    source = await lab.where()
    target = lab.others(source)[0].name
    assert (await lab.act("migrate", {"host": target}, "2.55")).status == 400
    assert (await lab.act("migrate", {"host": source})).status == 400
    assert (await lab.act("migrate", {"host": target})).status == 202
    await lab.settle()
    assert await lab.where() == target
    assert (await lab.act("revertResize")).status == 202
    assert await lab.state() == ("REVERT_RESIZE", "resize_reverting")
    # The target has not let go yet, so nothing starts at the source.
    await lab.hosts[source].sync()
    await lab.sagas()
    assert lab.id not in lab.hosts[source].running
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (source, ("ACTIVE", None))
    assert (await lab.migrations())[0]["status"] == "reverted"
    actions = (await lab.client.get(f"{COMPUTE}/servers/{lab.id}/os-instance-actions")).json["instanceActions"]
    assert [action["action"] for action in actions] == ["revertResize", "migrate", "create"]
    await lab.check_whole()


async def test_a_server_that_is_off_is_resized_and_stays_off(lab: Lab) -> None:
    await lab.act("os-stop")
    await lab.settle()
    assert (await lab.act("resize", {"flavorRef": "g"})).status == 202
    await lab.settle()
    assert await lab.state() == ("VERIFY_RESIZE", None) and await flavor_of(lab) == ("g", 2)
    assert all(lab.id not in host.running for host in lab.hosts.values())
    await lab.act("revertResize")
    await lab.settle()
    assert await lab.state() == ("SHUTOFF", None) and await flavor_of(lab) == ("f", 1)
    await lab.act("os-start")
    await lab.settle()
    await lab.check_whole()


@pytest.mark.parametrize("answer", ["confirmResize", "revertResize"])
@pytest.mark.parametrize("stays", [True, False])
async def test_a_server_is_resized(lab: Lab, answer: str, stays: bool) -> None:
    source = await lab.where()
    for host in lab.others(source) if stays else [lab.hosts[source]]:
        service = (await lab.client.get(f"{COMPUTE}/os-services?host={host.name}")).json["services"][0]
        await lab.client.put(f"{COMPUTE}/os-services/{service['id']}", {"status": "disabled"})
    assert (await lab.act("resize", {"flavorRef": "g"})).status == 202
    await lab.settle()
    target = await lab.where()
    assert (target == source) is stays and await lab.state() == ("VERIFY_RESIZE", None)
    assert await flavor_of(lab) == ("g", 2)
    assert lab.hosts[target].things[Noun.SERVER, lab.id]["disk_gb"] == 2
    assert sum((await lab.used()).values()) == 3
    assert (await lab.act(answer)).status in (202, 204)
    await lab.settle()
    confirmed = answer == "confirmResize"
    assert await lab.state() == ("ACTIVE", None)
    assert await flavor_of(lab) == (("g", 2) if confirmed else ("f", 1))
    assert await lab.where() == (target if confirmed else source)
    assert sum((await lab.used()).values()) == (2 if confirmed else 1)
    [migration] = await lab.migrations()
    assert migration["migration_type"] == "resize"
    await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}


async def test_what_resizing_refuses(lab: Lab) -> None:
    for value, status in (
        ({"flavorRef": "f"}, 400),
        ({"flavorRef": "nowhere"}, 400),
        ({"flavorRef": "huge"}, 400),
        ({}, 400),
        ({"flavorRef": "g", "nonsense": 1}, 400),
    ):
        assert (await lab.act("resize", value)).status == status, value
    assert (await lab.act("revertResize")).status == 409
    await lab.act("resize", {"flavorRef": "g"})
    assert (await lab.act("resize", {"flavorRef": "f"})).status == 409
    await lab.settle()
    await lab.act("confirmResize")
    await lab.settle()
    answer = await lab.act("resize", {"flavorRef": "f"})
    assert answer.status == 400 and "resize disk down" in answer.json["badRequest"]["message"]


async def test_a_target_that_cannot_take_the_disk_leaves_the_server_as_it_was(lab: Lab) -> None:
    source = await lab.where()
    for host in lab.others(source):
        host.failing[lab.id] = "The disk is full."
    assert (await lab.act("migrate")).status == 202
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (source, ("ACTIVE", None))
    assert (await lab.migrations())[0]["status"] == "error"
    await lab.check_whole()


@pytest.mark.parametrize("syncs", range(7))
async def test_a_server_is_deleted_while_it_is_resized(lab: Lab, syncs: int) -> None:
    await lab.act("migrate")
    for _ in range(syncs):
        for host in lab.hosts.values():
            await host.sync()
        await lab.cloud.sagas.step()
    assert (await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")).status == 204
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}
    assert all(host.things == {} for host in lab.hosts.values())


@pytest.mark.parametrize("syncs", range(7))
@pytest.mark.parametrize("reverts", [False, True])
async def test_a_server_is_deleted_while_it_is_resized_where_it_is(lab: Lab, syncs: int, reverts: bool) -> None:
    """What it holds until its host has let go of it is what it has, whether that is its old or its new shape."""
    for host in lab.others(await lab.where()):
        service = (await lab.client.get(f"{COMPUTE}/os-services?host={host.name}")).json["services"][0]
        await lab.client.put(f"{COMPUTE}/os-services/{service['id']}", {"status": "disabled"})
    await lab.act("resize", {"flavorRef": "g"})
    if reverts:
        await lab.settle()
        await lab.act("revertResize")
    for _ in range(syncs):
        for host in lab.hosts.values():
            await host.sync()
        await lab.cloud.sagas.step()
    assert (await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")).status == 204
    assert await lab.cloud.db.read(check_claims, 0) == []
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}
    assert all(host.things == {} for host in lab.hosts.values())


async def test_what_nobody_confirms_is_confirmed_in_time(lab: Lab) -> None:
    await lab.act("migrate")
    await lab.settle()
    cloud = lab.cloud.cloud
    await confirm_resizes(cloud)
    assert await lab.state() == ("VERIFY_RESIZE", None)
    impatient = replace(cloud, config=replace(cloud.config, resize_confirm_window_s=1e-6))
    await confirm_resizes(impatient)
    await lab.settle()
    assert await lab.state() == ("ACTIVE", None)
    await lab.check_whole()
