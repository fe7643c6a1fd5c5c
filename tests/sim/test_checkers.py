"""Every checker can fail: a fault is planted for each, and it is seen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ostro.agent.drivers.hypervisor import Domain, Memo
from ostro.agent.drivers.network.fake import FakeConfig, FakeNetwork
from ostro.model.wishes import FixedIp, NetworkWish, Noun, PortWish, Power, Segment, SubnetWish
from ostro.services.identity.catalog import seed_limits
from ostro.store.database import Tx
from ostro.testing.checkers import ROW_CHECKERS
from ostro.testing.checkers.flows import check_flows
from ostro.testing.checkers.incarnations import Incarnations
from ostro.testing.cloud import TestCloud
from ostro.testing.hosts import SimHost, add_host, converge
from ostro.testing.images import IMAGE_ID, put_image

COMPUTE = "/compute/v2.1"
NETWORK = "/networking/v2.0"

PLANTED = {
    "an inventory that is not the sum": (
        "claims",
        "UPDATE inventories SET used = used + 1 WHERE resource_class = 'VCPU'",
    ),
    "an over-commit": ("claims", "UPDATE inventories SET capacity = 0 WHERE resource_class = 'VCPU'"),
    "a claim of nobody": ("claims", "UPDATE servers SET deleted_at_us = 5"),
    "a server without a claim": ("claims", "UPDATE servers SET vcpus = vcpus + 1"),
    "an address that is not held": ("addresses", "DELETE FROM addresses"),
    "an address that is not shown": ("addresses", "UPDATE addresses SET address = address + 100"),
    "a network wish that is wrong": ("wishes", "UPDATE networks SET mtu = mtu - 8"),
    "a wish that is missing": ("wishes", "DELETE FROM wishes WHERE noun = 'port'"),
    "a wish for what is gone": ("wishes", "UPDATE ports SET host_id = ''"),
    "a server wish that is wrong": ("server wishes", "UPDATE servers SET reboots = reboots + 1"),
    "a delete that nobody drives": ("sagas", "UPDATE servers SET deleting = 1"),
    "a volume that nobody drives": ("sagas", "UPDATE volumes SET status = 'creating'"),
    "more than is allowed": (
        "quotas",
        "UPDATE registered_limits SET default_limit = 0 WHERE resource_name = 'servers'",
    ),
    "a sum that is none": ("quotas", "UPDATE server_use SET vcpus = vcpus + 1"),
    "ports that are not there": ("quotas", "UPDATE port_use SET ports = ports + 1"),
    "a saga that is overdue": (
        "sagas",
        "INSERT INTO sagas (id, kind, object_id, step, undoing, params, fault, deadline_us, due_us, epoch, created_at_us, updated_at_us)"
        " VALUES ('x', 'server.create', 'y', 1, 0, '{}', '', 5, 5, 1, 1, 1)",
    ),
}


async def furnish(cloud: TestCloud) -> SimHost:
    """A running server with a port and a volume."""
    await cloud.db.run(seed_limits, cloud.world)
    host = await add_host(cloud)
    await cloud.db.run(put_image)
    client = cloud.as_admin.with_headers(OpenStack_API_Version="compute 2.79")
    await client.post(f"{COMPUTE}/flavors", {"flavor": {"name": "f", "id": "f", "ram": 64, "vcpus": 1, "disk": 1}})
    network = (await client.post(f"{NETWORK}/networks", {"network": {"name": "n"}})).json["network"]["id"]
    await client.post(f"{NETWORK}/subnets", {"subnet": {"network_id": network, "ip_version": 4, "cidr": "10.0.0.0/24"}})
    server: dict[str, Any] = {"name": "s", "imageRef": IMAGE_ID, "flavorRef": "f", "networks": [{"uuid": network}]}
    assert (await client.post(f"{COMPUTE}/servers", {"server": server})).status == 202
    assert (await client.post("/volume/v3/volumes", {"volume": {"size": 1}})).status == 202
    await converge(cloud, host)
    return host


def check(tx: Tx, now_us: int) -> set[str]:
    """Names of the checkers that complain."""
    return {name for name, checker in ROW_CHECKERS.items() if checker(tx, now_us)}


def plant(tx: Tx, sql: str) -> None:
    assert tx.execute(sql) > 0


@pytest.fixture
async def furnished(cloud: TestCloud) -> TestCloud:
    await furnish(cloud)
    return cloud


async def test_nothing_is_wrong(furnished: TestCloud) -> None:
    assert await furnished.db.read(check, furnished.world.now_us()) == set()


@pytest.mark.parametrize("fault", PLANTED)
async def test_a_planted_fault_is_seen(furnished: TestCloud, fault: str) -> None:
    checker, sql = PLANTED[fault]
    await furnished.db.run(plant, sql)
    assert checker in await furnished.db.read(check, furnished.world.now_us())


def running(server_id: str, *volumes: str, power: Power = Power.ON) -> Domain:
    return Domain(server_id, power, Memo(1, 0, "b"), list(volumes))


def test_a_server_that_runs_twice_is_seen() -> None:
    complaints: list[str] = []
    book = Incarnations(complaints.append)
    book.see("a", "s", running("s"))
    book.see("b", "s", running("s", power=Power.OFF))
    book.see("a", "s", None)
    book.see("b", "s", running("s"))
    assert complaints == []
    assert book.running() == {"s": "b"}
    book.see("a", "s", running("s"))
    assert complaints == ["server s runs on a, b"]


def test_a_server_that_is_evacuated_may_run_twice_on_disks_of_its_hosts() -> None:
    complaints: list[str] = []
    book = Incarnations(complaints.append)
    book.excuse("s")
    book.see("a", "s", running("s"))
    book.see("b", "s", running("s"))
    assert complaints == []
    book.see("b", "s", msgspec.structs.replace(running("s"), shared=True))
    assert complaints == ["server s runs on a, b"]


def test_a_volume_with_two_writers_is_seen() -> None:
    complaints: list[str] = []
    book = Incarnations(complaints.append)
    book.see("a", "s", running("s", "v"))
    book.see("a", "s", running("s"))
    book.see("b", "t", running("t", "v"))
    assert complaints == []
    book.see("a", "s", running("s", "v"))
    assert complaints == ["volume v is open in s on a, t on b"]


async def test_flows_that_were_not_kept_current_are_seen() -> None:
    network = FakeNetwork(FakeConfig())
    subnet = SubnetWish("sub", "10.0.0.0/24", "10.0.0.1", True, "10.0.0.2")
    net = NetworkWish("net", "net", Segment("vxlan", 7), 1450, "fa:16:3e:00:00:01", [subnet])
    port = PortWish("p", "net", "project", "fa:16:3e:00:00:02", "tap1", [FixedIp("sub", "10.0.0.5")])
    network.put(Noun.NETWORK, "net", msgspec.json.encode(net))
    network.put(Noun.PORT, "p", msgspec.json.encode(port))
    await network.plug("p")
    await network.sync()
    assert check_flows(network) == []
    network._held.put(Noun.PORT, "p", msgspec.json.encode(msgspec.structs.replace(port, mac="fa:16:3e:00:00:03")))
    await network.sync()
    assert any("is missing" in complaint for complaint in check_flows(network))


def test_everything_has_a_planted_fault(tmp_path: Path) -> None:
    assert {checker for checker, _ in PLANTED.values()} == set(ROW_CHECKERS)
