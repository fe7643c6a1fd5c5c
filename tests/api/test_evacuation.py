"""Evacuation of servers from hosts that are down, over the API."""

from __future__ import annotations

from ostro.model.volumes import CEPH, storage_trait
from ostro.model.wishes import MigrationState, Noun
from ostro.services.block.types import ensure_ceph_type
from ostro.store.hosts import HOSTS
from ostro.testing.hosts import SimHost
from ostro.testing.leaks import find_leaks
from ostro.testing.moving import COMPUTE, Lab


async def lose(lab: Lab, name: str, *, long: bool = False) -> SimHost:
    """The host falls silent, for long enough to be fenced if ``long``."""
    host = lab.hosts.pop(name)
    silent_us = 600_000_000 if long else 60_000_000
    seen_at_us = lab.cloud.world.now_us() - silent_us
    await lab.cloud.db.run(lambda tx: HOSTS.update(tx, host.host_id, seen_at_us=seen_at_us, fence_ms=20_000))
    return host


async def test_a_server_is_evacuated_from_a_host_that_is_down(lab: Lab) -> None:
    source = await lab.where()
    answer = await lab.act("evacuate", {})
    assert answer.status == 400 and "still in use" in answer.json["badRequest"]["message"]
    lost = await lose(lab, source, long=True)
    assert (await lab.act("evacuate", {"host": source})).status == 400
    assert (await lab.act("evacuate", {"host": "nowhere"})).status == 400
    answer = await lab.act("evacuate", {}, "2.94")
    assert (answer.status, answer.body) == (200, b"")
    assert await lab.state() == ("REBUILD", "rebuilding")
    await lab.settle()
    assert await lab.state() == ("ACTIVE", None)
    target = await lab.where()
    assert target != source
    [migration] = await lab.migrations()
    assert (migration["status"], migration["migration_type"]) == ("done", "evacuation")
    assert lab.hosts[target].things[Noun.SERVER, lab.id]["taken_from"] == source
    # The host comes back: it finds that it has to let go, and does.
    lost.running.discard(lab.id)  # its fence has seen to that
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert (await lab.migrations())[0]["status"] == "completed"
    await lab.check_whole()


async def test_nothing_is_placed_before_the_host_is_fenced(lab: Lab) -> None:
    source = await lab.where()
    lost = await lose(lab, source)
    await lab.cloud.db.run(lambda tx: HOSTS.update(tx, lost.host_id, fence_ms=0))
    assert (await lab.act("evacuate", {"onSharedStorage": False}, "2.1")).json == {"adminPass": ""}
    await lab.settle()
    assert await lab.where() == source and await lab.state() == ("REBUILD", "rebuilding")
    assert all(lab.id not in host.running for host in lab.hosts.values())
    # It comes back and says that it has let go.
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert await lab.where() != source and await lab.state() == ("ACTIVE", None)
    await lab.check_whole()


async def test_a_server_that_was_off_stays_off_and_newer_versions_leave_it_off(lab: Lab) -> None:
    source = await lab.where()
    await lose(lab, source, long=True)
    assert (await lab.act("evacuate", {"host": sorted(lab.hosts)[0]})).status == 200
    await lab.settle()
    assert await lab.state() == ("SHUTOFF", None)


async def test_an_evacuation_overtakes_a_migration_and_ends_in_error_when_the_target_fails(lab: Lab) -> None:
    source = await lab.where()
    lab.hosts[source].sending[lab.id] = MigrationState.RUNNING
    await lab.migrate_live()
    await lab.settle()
    [migration] = await lab.migrations()
    lost = await lose(lab, source, long=True)
    other = next(name for name in lab.hosts if name != migration["dest_compute"])
    lab.hosts[other].failing[lab.id] = "No such image."
    assert (await lab.act("evacuate", {}, "2.68")).status == 200
    await lab.settle()
    assert (await lab.where(), (await lab.state())[0]) == (other, "ERROR")
    assert [m["status"] for m in await lab.migrations()] == ["failed", "cancelled"]
    lab.hosts[other].failing.clear()
    await lose(lab, other, long=True)
    assert (await lab.act("evacuate", {}, "2.68")).status == 200
    await lab.settle()
    assert (await lab.where(), await lab.state()) == (migration["dest_compute"], ("ACTIVE", None))
    assert lost.name == source


async def test_an_evacuation_is_asked_for_again_before_anything_is_placed(lab: Lab) -> None:
    source = await lab.where()
    lost = await lose(lab, source)
    for _twice in range(2):
        assert (await lab.act("evacuate", {}, "2.94")).status == 200
    assert await lab.where() == source and sum((await lab.used()).values()) == 3
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert await lab.where() != source and await lab.state() == ("ACTIVE", None)
    await lab.check_whole()


async def test_a_host_that_is_left_keeps_no_loan_of_a_volume(lab: Lab) -> None:
    """Whether it lets go of the server before that is placed elsewhere, or is fenced and comes back later."""
    await lab.cloud.db.run(ensure_ceph_type, 1)
    for host in lab.hosts.values():
        await host.register(traits=[storage_trait(CEPH)])
    answer = await lab.client.post("/volume/v3/volumes", {"volume": {"size": 1}})
    volume_id = answer.json["volume"]["id"]
    await lab.settle()
    body = {"volumeAttachment": {"volumeId": volume_id}}
    assert (await lab.client.post(f"{COMPUTE}/servers/{lab.id}/os-volume_attachments", body)).status == 200
    await lab.settle()
    for long in (False, True):
        source = await lab.where()
        lost = await lose(lab, source, long=long)
        assert (await lab.act("evacuate", {}, "2.94")).status == 200
        if long:
            lost.running.discard(lab.id)  # its fence has seen to that
            await lab.settle()
        lab.hosts[source] = lost
        await lost.register(traits=[storage_trait(CEPH)])
        await lab.settle()
        assert await lab.where() != source and await lab.state() == ("ACTIVE", None)
        wishes = {name: host.things.get((Noun.VOLUME, volume_id)) for name, host in lab.hosts.items()}
        assert {name for name, wish in wishes.items() if wish and wish["borrowed"]} <= {await lab.where()}


async def test_a_server_is_deleted_while_it_is_evacuated(lab: Lab) -> None:
    source = await lab.where()
    lost = await lose(lab, source)
    assert (await lab.act("evacuate", {})).status == 200
    assert (await lab.client.delete(f"{COMPUTE}/servers/{lab.id}")).status == 204
    lab.hosts[source] = lost
    await lost.register()
    await lab.settle()
    assert await lab.cloud.db.read(find_leaks) == {}
