"""The control plane in parts, as real processes on a real PostgreSQL: hosts join, servers boot, and parts are killed meanwhile."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openstack
import pytest
import requests

from ostro.cli.install import HEALTH, make_unit
from ostro.testing.postgres import PostgresServer
from ostro.testing.roles import Roles, free_port

SERVERS = 10
"""As many as a project may have at first."""


@pytest.fixture
def roles(postgres: PostgresServer, tmp_path: Path) -> Iterator[Roles]:
    """A cloud that is made, of which nothing runs yet."""
    name = postgres.create_database()
    with Roles(tmp_path, postgres.dsn(name)) as cloud:
        cloud.init("--fence", "60")
        yield cloud
    postgres.drop_database(name)


def url_of(roles: Roles) -> str:
    """Where the first API process is."""
    text = (roles.state / "ostro.toml").read_text()
    listen = next(line for line in text.splitlines() if line.startswith("listen")).partition('"')[2].rstrip('"')
    return f"https://{listen}"


def make_lab(conn: Any) -> dict[str, Any]:
    """What servers are made from."""
    image = conn.image.create_image(
        name="small", disk_format="raw", container_format="bare", data=os.urandom(1 << 16), visibility="public"
    )
    flavor = conn.compute.create_flavor(name="small", vcpus=1, ram=64, disk=1)
    network = conn.network.create_network(name="lab")
    conn.network.create_subnet(network_id=network.id, ip_version=4, cidr="10.5.0.0/24", name="lab")
    return {"image_id": image.id, "flavor_id": flavor.id, "networks": [{"uuid": network.id}]}


def test_parts_are_killed_while_servers_boot(roles: Roles) -> None:
    url, port = url_of(roles), free_port()
    first, second = roles.api(), roles.api(f"127.0.0.1:{port}", state=roles.copy_settings("other-machine"))
    controllers = [roles.controller(), roles.controller()]
    for name in ("host-a", "host-b"):
        roles.join(name, url, roles.token())
    agents = [roles.agent("host-a"), roles.agent("host-b")]
    conn = roles.connect()
    roles.await_(lambda: len([h for h in conn.compute.hypervisors(details=True) if h.state == "up"]) == 2, "two hosts")
    lab = make_lab(conn)
    # Whoever waits hears of what another process and a host have done.
    names = {"name": "waited-for", "imageRef": lab["image_id"], "flavorRef": lab["flavor_id"]}
    wanted = {"server": {**names, "networks": lab["networks"]}}
    patient = conn.compute.post("/servers", json=wanted, headers={"Prefer": "wait=100"})
    waited = conn.compute.get_server(patient.json()["server"]["id"])
    assert (patient.headers["Preference-Applied"], waited.status) == ("wait=100", "ACTIVE")
    conn.compute.delete_server(waited)
    roles.await_(lambda: not list(conn.compute.servers()), "it is deleted")

    def boot(number: int) -> str:
        while True:
            try:
                return str(conn.compute.create_server(name=f"s{number}", **lab).id)
            except openstack.exceptions.HttpException as error:
                # Too many changed the same thing at once: nothing has happened, and the client is to try again.
                if error.status_code != 503:
                    raise

    with ThreadPoolExecutor(4) as pool:
        booting = [pool.submit(boot, number) for number in range(SERVERS)]
        booting[SERVERS // 3].result()
        controllers[0].kill()
        agents[0].kill()
        second.kill()
        ids = {future.result() for future in booting}
    agents[0].start()
    assert len(ids) == SERVERS
    roles.await_(lambda: {s.status for s in conn.compute.servers()} == {"ACTIVE"}, "all servers are active")
    servers = list(conn.compute.servers())
    assert {s.id for s in servers} == ids, "none twice, none lost"
    assert {s.compute_host for s in servers} == {"host-a", "host-b"}

    # The API process that clients use dies; it is started again, and hosts have gone on with the other meanwhile.
    second.start()
    roles.await_(lambda: answers(f"https://127.0.0.1:{port}/readyz", roles), "the second API process")
    first.kill()
    elsewhere = requests.get(f"https://127.0.0.1:{port}/healthz", verify=str(roles.state / "authority.pem"), timeout=30)
    assert elsewhere.json() == {"status": "alive"}
    first.start()
    roles.await_(lambda: answers(f"{url}/readyz", roles), "the first API process")
    for server in servers[:4]:
        conn.compute.delete_server(server.id)
    roles.await_(lambda: len(list(conn.compute.servers())) == SERVERS - 4, "servers are deleted")
    assert controllers[1].runs and controllers[1].stop() == 0


def answers(url: str, roles: Roles) -> bool:
    """Whether the URL does."""
    try:
        return requests.get(url, verify=str(roles.state / "authority.pem"), timeout=30).status_code == 200
    except requests.ConnectionError:
        return False


def test_joining(roles: Roles) -> None:
    url = url_of(roles)
    roles.api()
    words = ("join", url, "TOKEN", "--hypervisor", "fake")
    token = roles.token("--uses", "1")
    roles.join("host-a", url, token)

    def refused(token: str, name: str, *options: str) -> str:
        state = str(roles.root / f"refused-{name}")
        tried = [*words[:2], token, *words[3:], "--state", state, "--name", name, *options]
        done = roles.ostro(*tried, check=False)
        assert done.returncode == 1 and not (Path(state) / "agent.toml").exists()
        return done.stderr

    assert "not good, or not any more" in refused(token, "host-b")
    secret, _, _fingerprint = roles.token().partition(".")
    assert "fingerprint is another" in refused(f"{secret}.{'0' * 64}", "host-b")
    assert "There is a host host-a" in refused(roles.token(), "host-a")
    assert "is for host host-c" in refused(roles.token("--host", "host-c"), "host-b")
    assert "can't be the name" in refused(roles.token(), "controller.ostro")
    listed = roles.ostro("token", "list", "--state", str(roles.state)).stdout.split("\n")
    for line in filter(None, listed):
        roles.ostro("token", "revoke", line.split()[0], "--state", str(roles.state))
    assert "not good, or not any more" in refused(f"{secret}.{token.partition('.')[2]}", "host-d")
    state = ("--state", str(roles.root / "host-a"), "--hypervisor", "fake")
    renamed = roles.ostro("join", url, roles.token(), *state, "--name", "host-e", check=False)
    assert renamed.returncode == 1 and "is of the host host-a" in renamed.stderr, "its servers would be nobody's"
    # Its certificate was lost: it joins again where it was.
    roles.join("host-a", url, roles.token("--host", "host-a"))
    # The host's disk was lost: it joins again under its name, and what it was known by before is refused.
    agent = roles.agent("host-a")
    roles.await_(lambda: agent.says('"registered"'), "the host registers")
    agent.kill()
    (roles.root / "host-a").rename(roles.root / "lost")
    roles.join("host-a", url, roles.token("--host", "host-a"))
    agent = roles.agent("host-a")
    roles.await_(lambda: agent.says('"registered"'), "the host registers")
    (roles.root / "lost" / "agent.lock").unlink(missing_ok=True)
    ghost = roles.agent("lost")
    roles.await_(lambda: ghost.says("does not take this agent's key"), "the old certificate is refused")


def test_a_database_is_one_clouds(roles: Roles, tmp_path: Path) -> None:
    state = roles.copy_settings("stranger")
    text = (state / "ostro.toml").read_text().splitlines()
    (state / "ostro.toml").write_text("\n".join('secret = "0"' if x.startswith("secret") else x for x in text))
    done = roles.ostro("api", "--state", str(state), "--listen", "127.0.0.1:0", check=False)
    assert done.returncode == 1 and "is not the one of the cloud" in done.stderr
    again = ("init", "--database", roles.database, "--state", str(roles.state))
    assert roles.ostro(*again).returncode == 0, "called twice it changes nothing"
    other = roles.ostro("init", "--database", "postgresql://nowhere/x", "--state", str(roles.state), check=False)
    assert other.returncode == 1 and "another database" in other.stderr
    (roles.state / "ostro.toml").write_text("nonsense = 1\n")
    assert "can't be read" in roles.ostro("api", "--state", str(roles.state), check=False).stderr
    (roles.state / "ostro.toml").write_text(
        "\n".join([*text, "certificate_s = 1.0"]).replace("certificate_s = 2592000.0", "")
    )
    assert "certificate_s" in roles.ostro("api", "--state", str(roles.state), check=False).stderr
    (state / "ostro.toml").write_text(
        "\n".join('database = "host=/nowhere"' if x.startswith("database") else x for x in text)
    )
    gone = roles.ostro("token", "create", "--state", str(state), check=False)
    assert gone.returncode == 1 and "can't be reached" in gone.stderr, gone.stderr


@pytest.mark.parametrize(
    ("database", "says"),
    [("postgresql://127.0.0.1:1/x", "can't be reached"), ("mysql://db/x", "can't be read")],
)
def test_a_database_that_is_not_there_is_told_at_once(tmp_path: Path, database: str, says: str) -> None:
    """And nothing is kept, so that the next attempt may name another."""
    state = tmp_path / "state"
    words = [sys.executable, "-m", "ostro", "init", "--database", database, "--state", str(state)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and says in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not (state / "ostro.toml").exists()


def test_an_api_of_several_processes(roles: Roles) -> None:
    """One that is killed is replaced while the other answers, and all end together."""
    part = roles.api("", None, "--workers", "2")
    conn = roles.connect()
    before = roles.await_(lambda: part.children if len(part.children) == 2 else set[int](), "two processes")
    assert list(conn.identity.projects())
    os.kill(min(before), signal.SIGKILL)
    now = roles.await_(lambda: part.children - before and part.children, "another one")
    assert len(now) == 2 and max(before) in now
    assert list(conn.identity.projects())
    assert part.stop() == 0
    assert not [pid for pid in now if Path(f"/proc/{pid}").exists()]


@pytest.mark.parametrize("role", ["api", "controller"])
def test_what_a_unit_starts_runs_with_what_the_unit_leaves_it(roles: Roles, role: str) -> None:
    """No capability, no new privileges, and nothing in its environment."""
    unit = make_unit(role, (sys.executable, "-m", "ostro"), str(roles.state))
    command = next(line for line in unit.splitlines() if line.startswith("ExecStart=")).partition("=")[2]
    words = [word.replace(HEALTH, f"127.0.0.1:{free_port()}") for word in shlex.split(command)]
    # Only the database's own user may look into its directory.
    socket_dir = Path(roles.database.partition("host=")[2].split()[0])
    socket_dir.chmod(0o755)
    bare = ["env", "-i", "PATH=/usr/bin:/bin", "setpriv", "--inh-caps=-all", "--no-new-privs"]
    bare += ["--bounding-set=-all"] if os.geteuid() == 0 else []
    log = roles.root / f"unit-{role}.log"
    with log.open("wb") as out, subprocess.Popen([*bare, *words], cwd="/", stdout=out, stderr=out) as process:
        ready = {"api": b"Ostro serves", "controller": b"The controller runs"}[role]
        roles.await_(lambda: ready in log.read_bytes() or process.poll() is not None, "it starts")
        assert process.poll() is None, log.read_text()
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status and "NoNewPrivs:\t1" in status
        process.terminate()
        assert process.wait(60) == 0, log.read_text()
