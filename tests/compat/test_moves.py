"""Servers move between hosts as real processes, asked by the ``openstack`` command and by ``ostro host``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostro.testing.openstack import OpenStack
from ostro.testing.postgres import PostgresServer
from ostro.testing.roles import Part, Roles

HOSTS = ("host-a", "host-b", "host-c")


class Moves:
    """A cloud of three hosts, and what is asked of it."""

    def __init__(self, roles: Roles, agents: dict[str, Part]) -> None:
        self.roles = roles
        self.agents = agents
        self.openstack = OpenStack(roles.state / "clouds.yaml")
        self.conn = roles.connect()

    def boot(self, name: str, host: str) -> str:
        """A server that runs on a host; its id."""
        words = ("--image", "small", "--flavor", "small", "--network", "lab", "--host", host)
        found = self.openstack("server", "create", *words, "--os-compute-api-version", "2.74", name)
        self.await_status(name, "ACTIVE", host)
        return str(found["id"])

    def await_status(self, name: str, status: str, host: str = "") -> Any:
        """The server, once it is so and nothing is under way. On ``host``, anywhere but there after a minus, or anywhere."""

        def look() -> Any:
            server = self.conn.compute.find_server(name, ignore_missing=False, details=True)
            server = self.conn.compute.get_server(server.id)
            there = server.compute_host != host[1:] if host.startswith("-") else host in ("", server.compute_host)
            return server if server.status == status and server.task_state is None and there else None

        return self.roles.await_(look, f"{name} is {status} on {host or 'any host'}")

    def host(self, *words: str, check: bool = True) -> Any:
        """``ostro host`` with JSON; what it said."""
        done = self.roles.ostro("host", *words, "--state", str(self.roles.state), "--json", check=check)
        return json.loads(done.stdout)

    def all_up(self) -> bool:
        """Whether every host is."""
        return [host.state for host in self.conn.compute.hypervisors(details=True)] == ["up"] * len(HOSTS)

    def refused(self, *words: str) -> str:
        """A command of the client that must fail; what it says."""
        done = self.openstack.run(*words)
        assert done.returncode != 0, f"openstack {' '.join(words)} has succeeded"
        return done.stderr


@pytest.fixture
def moves(postgres: PostgresServer, tmp_path: Path) -> Iterator[Moves]:
    """Three hosts with nothing on them."""
    name = postgres.create_database()
    with Roles(tmp_path, postgres.dsn(name)) as roles:
        roles.init("--fence", "20")
        text = (roles.state / "ostro.toml").read_text()
        listen = next(line for line in text.splitlines() if line.startswith("listen")).partition('"')[2].rstrip('"')
        roles.api()
        roles.controller()
        for host in HOSTS:
            roles.join(host, f"https://{listen}", roles.token())
        cloud = Moves(roles, {host: roles.agent(host) for host in HOSTS})
        roles.await_(cloud.all_up, "the hosts are up")
        image = tmp_path / "image"
        image.write_bytes(os.urandom(1 << 16))
        conn = cloud.conn
        conn.image.create_image(
            name="small", disk_format="raw", container_format="bare", data=image.read_bytes(), visibility="public"
        )
        for flavor, ram in (("small", 64), ("larger", 128)):
            conn.compute.create_flavor(name=flavor, vcpus=1, ram=ram, disk=1)
        network = conn.network.create_network(name="lab")
        conn.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24", name="lab")
        yield cloud
    postgres.drop_database(name)


def test_moves(moves: Moves) -> None:
    openstack = moves.openstack
    server = moves.boot("s", "host-a")

    # Live, to a host by name and then to one that the scheduler chooses.
    openstack("server", "migrate", "--live-migration", "--host", "host-b", "--os-compute-api-version", "2.30", "s")
    moves.await_status("s", "ACTIVE", "host-b")
    openstack("server", "migrate", "--live-migration", "--os-compute-api-version", "2.30", "--wait", "s")
    moves.await_status("s", "ACTIVE", "-host-b")
    listed = openstack("server", "migration", "list", "--server", "s", "--os-compute-api-version", "2.80")
    assert [(row["Type"], row["Status"]) for row in listed] == [("live-migration", "completed")] * 2
    version = ("--os-compute-api-version", "2.80")
    over = moves.refused("server", "migration", "force", "complete", "s", str(listed[0]["Id"]), *version)
    assert "Cannot 'force_complete' instance" in over, over

    # Cold, resized and back.
    openstack("server", "migrate", "--host", "host-b", "--os-compute-api-version", "2.56", "--wait", "s")
    moves.await_status("s", "VERIFY_RESIZE", "host-b")
    openstack("server", "resize", "confirm", "s")
    moves.await_status("s", "ACTIVE", "host-b")
    openstack("server", "resize", "--flavor", "larger", "--wait", "s")
    moves.await_status("s", "VERIFY_RESIZE")
    openstack("server", "resize", "revert", "s")
    assert moves.await_status("s", "ACTIVE", "host-b").flavor.name == "small"
    openstack("server", "migrate", "--wait", "s")
    moves.await_status("s", "VERIFY_RESIZE", "-host-b")
    openstack("server", "migration", "confirm", "s")
    moves.await_status("s", "ACTIVE", "-host-b")
    kinds = {row["Type"] for row in openstack("server", "migration", "list", *version)}
    assert kinds == {"live-migration", "migration", "resize"}

    # A host that is disabled takes no new servers; one that is declared down is left by evacuation.
    home = moves.await_status("s", "ACTIVE").compute_host
    other = next(host for host in HOSTS if host != home)
    openstack("compute", "service", "set", "--disable", "--disable-reason", "repair", other, "nova-compute")
    found = {row["Host"]: row for row in openstack("compute", "service", "list", "--long")}
    assert (found[other]["Status"], found[other]["Disabled Reason"]) == ("disabled", "repair")
    openstack("compute", "service", "set", "--enable", other, "nova-compute")
    assert "still in use" in moves.refused("server", "evacuate", "s")
    moves.agents[home].kill()
    openstack("compute", "service", "set", "--down", home, "nova-compute", "--os-compute-api-version", "2.11")
    # Not with --wait: the client then waits for a status in capitals, which it has made small before.
    openstack("server", "evacuate", "--os-compute-api-version", "2.29", "s")
    after = moves.await_status("s", "ACTIVE", f"-{home}")
    assert after.id == server
    assert {row["Hypervisor Hostname"]: row["State"] for row in openstack("hypervisor", "list", "--long")}[
        home
    ] == "down"
    shown = openstack("hypervisor", "show", after.compute_host)
    assert shown["state"] == "up" and shown["hypervisor_hostname"] == after.compute_host


def test_host_commands(moves: Moves) -> None:
    """An administrator empties a host, and is told of every server that stays why it does."""
    assert {row["host"]: row["state"] for row in moves.host("list")} == dict.fromkeys(HOSTS, "up")
    runs, off, moved = moves.boot("runs", "host-a"), moves.boot("off", "host-a"), moves.boot("moved", "host-b")
    moves.openstack("server", "stop", "off")
    moves.await_status("off", "SHUTOFF")
    moves.openstack("server", "migrate", "--host", "host-a", "--os-compute-api-version", "2.56", "moved")
    moves.await_status("moved", "VERIFY_RESIZE", "host-a")
    assert sorted(moves.host("show", "host-a")["servers"]) == ["moved", "off", "runs"]

    drained = moves.roles.ostro("host", "drain", "host-a", "--state", str(moves.roles.state), "--json", check=False)
    rows = {row["id"]: row for row in json.loads(drained.stdout)}
    assert drained.returncode == 1 and "1 of 3 servers are still on host-a" in drained.stderr
    assert {rows[id_]["why not"] for id_ in (runs, off)} == {""}, rows
    assert "VERIFY_RESIZE" in rows[moved]["why not"] and rows[moved]["host"] == "host-a"
    moves.await_status("runs", "ACTIVE", "-host-a")
    moves.await_status("off", "SHUTOFF", "-host-a")
    service = next(row for row in moves.host("list") if row["host"] == "host-a")
    assert (service["status"], service["disabled_reason"]) == ("disabled", "drained by ostro host drain")
    refused = moves.roles.ostro("host", "remove", "host-a", "--state", str(moves.roles.state), check=False)
    assert refused.returncode == 1 and "host-a is not removed" in refused.stderr

    moves.openstack("server", "delete", "--wait", "moved")
    moves.host("maintenance", "host-a", "--reason", "new disks")
    assert moves.host("show", "host-a")["disabled_reason"] == "new disks"
    assert moves.host("enable", "host-a")[0]["status"] == "enabled"
    # Nowhere to go: it stays, and is told so.
    home = moves.await_status("runs", "ACTIVE").compute_host
    for host in HOSTS:
        if host != home:
            moves.host("disable", host)
    stuck = moves.roles.ostro("host", "drain", home, "--state", str(moves.roles.state), "--json", check=False)
    why = {row["server"]: row["why not"] for row in json.loads(stuck.stdout)}
    assert stuck.returncode == 1 and why["runs"], why
    moves.await_status("runs", "ACTIVE", home)
    moves.agents["host-a"].kill()
    moves.host("force-down", "host-a")
    moves.host("remove", "host-a")
    assert {row["host"] for row in moves.host("list")} == set(HOSTS) - {"host-a"}
    assert (
        "There is no host host-a"
        in moves.roles.ostro("host", "show", "host-a", "--state", str(moves.roles.state), check=False).stderr
    )


def test_aborting(moves: Moves) -> None:
    """By the library: the command gives show and abort the server and the migration the wrong way round."""
    server = moves.boot("s", "host-a")
    compute = moves.conn.compute
    # The target doesn't answer, so the migration waits for it.
    moves.agents["host-c"].kill()
    compute.live_migrate_server(server, host="host-c", block_migration="auto")
    migration = next(iter(compute.server_migrations(server)))
    shown = compute.get_server_migration(migration.id, server)
    assert (shown.source_compute, shown.dest_compute) == ("host-a", "host-c")
    compute.abort_server_migration(migration.id, server)
    moves.agents["host-c"].start()
    moves.await_status("s", "ACTIVE", "host-a")
    past = next(row for row in compute.migrations() if row.id == migration.id)
    assert past.status == "cancelled"
