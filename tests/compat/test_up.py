"""``ostro up --hypervisor fake`` as a process, used through openstacksdk, on good days and bad ones."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openstack
import pytest
import requests

from ostro.testing.processes import freeze
from ostro.testing.up import Up

DEADLINE_S = 30.0


def eventually(check: Callable[[], Any], what: str, timeout_s: float = DEADLINE_S) -> Any:
    """Poll ``check`` until it returns something true; the test fails when it does not in time."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        found = check()
        if found:
            return found
        time.sleep(0.05)
    pytest.fail(f"not in {timeout_s:g} s: {what}")


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running cloud with the fake hypervisor, for all tests here that leave it running."""
    with Up(tmp_path_factory.mktemp("up") / "state") as running:
        running.start()
        yield running


class Lab:
    """An image, a flavor and a network, by openstacksdk."""

    def __init__(self, conn: Any) -> None:
        self.conn = conn
        self.image = conn.image.find_image("small") or conn.image.create_image(
            name="small", disk_format="raw", container_format="bare", data=os.urandom(1 << 16), visibility="public"
        )
        self.flavor = conn.compute.find_flavor("small") or conn.compute.create_flavor(
            name="small", vcpus=1, ram=64, disk=1
        )
        self.network = conn.network.find_network("lab")
        if self.network is None:
            self.network = conn.network.create_network(name="lab")
            conn.network.create_subnet(network_id=self.network.id, ip_version=4, cidr="10.5.0.0/24", name="lab")

    def boot(self, name: str) -> Any:
        return self.conn.compute.create_server(
            name=name, image_id=self.image.id, flavor_id=self.flavor.id, networks=[{"uuid": self.network.id}]
        )

    def status(self, server: Any) -> str:
        return str(self.conn.compute.get_server(server.id).status)

    def gone(self, server: Any) -> bool:
        return self.conn.compute.find_server(server.id) is None


def agent_pid(up: Up) -> int:
    """The process id of the agent that ``up`` keeps."""
    needle = f"agent --state {up.state}"
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                words = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if needle in words:
                return int(entry)
    pytest.fail("no agent runs")


def test_boot_and_delete(up: Up) -> None:
    lab = Lab(up.connect())
    server = lab.boot("one")
    eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE")
    (address,) = lab.conn.compute.get_server(server.id).addresses["lab"]
    assert address["addr"].startswith("10.5.0.")
    lab.conn.compute.delete_server(server.id)
    eventually(lambda: lab.gone(server), "gone")
    assert not [p for p in lab.conn.network.ports() if p.device_id == server.id]


def test_second_up_on_the_same_state_is_refused(up: Up) -> None:
    words = [sys.executable, "-m", "ostro", "up", "--state", str(up.state), "--hypervisor", "fake"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "Another `ostro up`" in done.stderr
    assert up.endpoint in done.stderr


def test_port_in_use_is_said(up: Up, tmp_path: Path) -> None:
    address = up.endpoint.removeprefix("http://")
    words = ["up", "--state", str(tmp_path / "other"), "--hypervisor", "fake", "--listen", address]
    done = subprocess.run(
        [sys.executable, "-m", "ostro", *words], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 1
    assert (
        done.stderr.strip()
        == f"ostro: Can't listen on {address}: Address already in use. Choose another address with --listen."
    )


def test_agent_away_while_a_server_is_created(up: Up) -> None:
    lab = Lab(up.connect())
    first = lab.boot("first")
    eventually(lambda: lab.status(first) == "ACTIVE", "ACTIVE")
    pid = agent_pid(up)
    freeze(pid)
    second = lab.boot("second")
    assert lab.status(second) == "BUILD"
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: lab.status(second) == "ACTIVE", "ACTIVE after the agent came back")


def test_agent_killed_is_started_again(up: Up) -> None:
    lab = Lab(up.connect())
    pid = agent_pid(up)
    os.kill(pid, signal.SIGKILL)
    server = lab.boot("one")
    eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE by the next agent")
    assert agent_pid(up) != pid


def test_kill_and_start_again_keeps_everything(up: Up) -> None:
    lab = Lab(up.connect())
    server = lab.boot("one")
    eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE")
    building = lab.boot("two")
    up.kill()
    up.start()
    lab.conn = up.connect()
    assert lab.status(server) == "ACTIVE"
    eventually(lambda: lab.status(building) == "ACTIVE", "the half-made server is finished")
    for each in (server, building):
        lab.conn.compute.delete_server(each.id)
    eventually(lambda: lab.gone(server) and lab.gone(building), "gone")


@pytest.mark.parametrize("point", ["saga.server.create.committed", "saga.server.delete.committed"])
def test_death_in_the_middle_of_a_saga(tmp_path: Path, point: str) -> None:
    with Up(tmp_path / "state") as up:
        up.start(environment={"OSTRO_FAULT": point})
        lab = Lab(up.connect())
        server = lab.boot("one")
        if "delete" in point:
            eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE")
            lab.conn.compute.delete_server(server.id)
        up.process.wait(DEADLINE_S)
        assert up.process.returncode == -signal.SIGKILL
        up.start()
        lab.conn = up.connect()
        if "create" in point:
            eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE after the restart")
            lab.conn.compute.delete_server(server.id)
        eventually(lambda: lab.gone(server), "gone")
        assert not [p for p in lab.conn.network.ports() if p.device_id == server.id]


def test_wrong_password_is_401(up: Up) -> None:
    with pytest.raises(openstack.exceptions.SDKException, match="HTTP 401"):
        openstack.connect(
            auth_url=f"{up.endpoint}/identity/v3",
            username="admin",
            password="wrong",
            project_name="admin",
            user_domain_id="default",
            project_domain_id="default",
            load_yaml_config=False,
            load_envvars=False,
        ).authorize()


def test_flows_are_shown_in_words(up: Up) -> None:
    lab = Lab(up.connect())
    server = lab.boot("flows")
    eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE")
    address = lab.conn.compute.get_server(server.id).addresses["lab"][0]["addr"]
    words = [sys.executable, "-m", "ostro", "flows", "show", "--state", str(up.state)]
    shown = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.search(r"^table \d+ \w+", shown, re.M)
    assert address in shown


def test_the_first_answer_finds_clouds_yaml_written(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    up = Up(tmp_path / "state")
    with up:
        up.spawn(f"127.0.0.1:{port}")

        def answers() -> bool:
            with contextlib.suppress(OSError):
                return requests.get(f"http://127.0.0.1:{port}/healthz", timeout=5).status_code == 200
            return False

        eventually(answers, "an answer")
        assert (up.state / "clouds.yaml").exists()
        up.await_ready()
        assert up.connect().auth_token


def test_without_root_the_fake_hypervisor_works(tmp_path: Path) -> None:
    """In a user namespace without a mapping nobody is root, and nothing but one's own files can be touched."""
    with Up(tmp_path / "state", wrapper=("unshare", "--user")) as up:
        up.start()
        lab = Lab(up.connect())
        server = lab.boot("one")
        eventually(lambda: lab.status(server) == "ACTIVE", "ACTIVE")
    refused = subprocess.run(
        ["unshare", "--user", sys.executable, "-m", "ostro", "up", "--state", str(tmp_path / "real")],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert refused.returncode == 1
    assert "--hypervisor fake" in refused.stderr
    assert not (tmp_path / "real").exists()
