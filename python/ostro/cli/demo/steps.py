"""What the demonstration does, and what must be seen at each step."""

from __future__ import annotations

import hashlib
import re
import tempfile
from functools import partial
from pathlib import Path

import trio

from ostro.cli.demo.runner import Runner, StepFailed

CIDR = "10.66.0.0/24"
PEER_IP = "10.66.0.20"
SHUT_IP = "10.66.0.30"
FLAVOR = "m1.nano"

PINGER = f"""#!/bin/sh
echo "DEMO user-data ran on $(hostname)" > /dev/console
n=0
while :; do
  n=$((n+1))
  for target in peer:{PEER_IP} shut:{SHUT_IP}; do
    if ping -c 1 -W 1 ${{target#*:}} > /dev/null 2>&1; then word=answers; else word=silent; fi
    echo "DEMO $n ${{target%%:*}} $word" > /dev/console
  done
  sleep 0.3
done &
"""
LISTENER = """#!/bin/sh
echo "DEMO user-data ran on $(hostname)" > /dev/console
"""


def last_with(lines: list[str], pattern: str, after: int = 0) -> str | None:
    """The last line after line ``after`` that matches, without control characters."""
    found = [line for line in lines[after:] if re.search(pattern, line)]
    return re.sub(r"[^ -~]", "", found[-1]).strip() if found else None


def rounds(lines: list[str], target: str, word: str) -> list[int]:
    """The numbers of the pinger's rounds in which ``target`` was found in that state."""
    return [int(m[1]) for line in lines if (m := re.search(rf"DEMO (\d+) {target} {word}", line))]


async def make_images_and_networks(run: Runner, image: Path, scratch: Path) -> None:
    """Image, flavor, network, subnet, keypair, a closed group and two ports with known addresses."""
    with run.step("image uploaded") as row:
        created = ["image", "create", "tiny", "--disk-format", "qcow2", "--container-format", "bare", "--public"]
        await run.openstack(*created, "--file", str(image))
        shown = await run.show("image", "show", "tiny")
        if shown["checksum"] != hashlib.md5(image.read_bytes(), usedforsecurity=False).hexdigest():
            raise StepFailed("the image's checksum is not the file's")
        row.result = f"{shown['size']} bytes, {shown['status']}, checksum equal"
    with run.step("network, subnet, keypair, flavor") as row:
        await run.together(
            ["network", "create", "demo"],
            ["keypair", "create", "demo", "--private-key", str(scratch / "demo.pem")],
            ["flavor", "create", FLAVOR, "--vcpus", "1", "--ram", "96", "--disk", "1"],
            ["security", "group", "create", "shut", "--description", "no ingress"],
        )
        await run.openstack(
            "subnet", "create", "demo", "--network", "demo", "--subnet-range", CIDR, "--dns-nameserver", "9.9.9.9"
        )
        row.result = CIDR
    with run.step("ports, one of them in a closed group"):
        await run.together(
            ["port", "create", "peer", "--network", "demo", "--fixed-ip", f"ip-address={PEER_IP}"],
            [
                "port",
                "create",
                "shut",
                "--network",
                "demo",
                "--fixed-ip",
                f"ip-address={SHUT_IP}",
                "--security-group",
                "shut",
            ],
        )


async def boot_servers(run: Runner, scratch: Path) -> None:
    """Two servers in the default group, and a third on the closed port."""
    (scratch / "pinger").write_text(PINGER)
    (scratch / "listener").write_text(LISTENER)
    common = ["--image", "tiny", "--flavor", FLAVOR, "--key-name", "demo", "--user-data"]
    with run.step("servers accepted"):
        await run.together(
            ["server", "create", "one", *common, str(scratch / "pinger"), "--network", "demo"],
            ["server", "create", "two", *common, str(scratch / "listener"), "--port", "peer"],
            ["server", "create", "three", *common, str(scratch / "listener"), "--port", "shut"],
        )
    with run.step("servers ACTIVE"):
        await run.await_servers(["one", "two", "three"])


async def look_inside(run: Runner) -> None:
    """What the guests say of their network and metadata."""
    shown = await run.show("server", "show", "one")
    address = shown["addresses"]["demo"][0]
    with run.step("address by DHCP") as row:
        pattern = rf"guest: address eth0 {re.escape(address)}/"
        row.result = await run.await_console("one", lambda lines: last_with(lines, pattern), f"address {address}")
    with run.step("instance id from 169.254.169.254") as row:
        row.result = await run.await_console(
            "one", lambda lines: last_with(lines, r"guest: instance-id \S+"), "an instance id"
        )
    with run.step("user data from 169.254.169.254") as row:
        row.result = await run.await_console(
            "one", lambda lines: last_with(lines, "DEMO user-data ran on one"), "the user data's line"
        )
    with run.step("one pings two across the network") as row:
        await run.await_console("two", lambda lines: last_with(lines, "DEMO user-data ran on two"), "being up")
        row.result = await run.await_console("one", lambda lines: last_with(lines, "DEMO .* peer answers"), "an answer")


async def filter_packets(run: Runner) -> None:
    """The closed port does not answer, then a rule opens it, then its removal closes it."""
    with run.step("closed group: no answer") as row:
        await run.await_console("three", lambda lines: last_with(lines, "DEMO user-data ran on three"), "being up")
        first = len(rounds(await run.console("one"), "shut", "silent"))

        def silent(lines: list[str]) -> str | None:
            if rounds(lines, "shut", "answers"):
                raise StepFailed("the closed port answered a ping")
            count = len(rounds(lines, "shut", "silent")) - first
            return f"silent {count} times" if count >= 3 else None

        row.result = await run.await_console("one", silent, "three silent rounds")
    with run.step("rule added: it answers") as row:
        rule = await run.show("security", "group", "rule", "create", "shut", "--protocol", "icmp", "--ingress")
        row.result = await run.await_console("one", lambda lines: last_with(lines, "DEMO .* shut answers"), "an answer")
    with run.step("rule removed: silent again") as row:
        await run.openstack("security", "group", "rule", "delete", rule["id"])
        seen = max(rounds(await run.console("one"), "shut", "answers"))

        def closed(lines: list[str]) -> str | None:
            last = max(rounds(lines, "shut", "answers"))
            quiet = [n for n in rounds(lines, "shut", "silent") if n > last]
            return f"last answer in round {last}, silent since" if len(quiet) >= 3 else None

        row.result = await run.await_console("one", closed, f"silence after round {seen}")


async def change_power(run: Runner) -> None:
    """Stop, start and reboot, each seen from inside."""
    with run.step("server stopped"):
        await run.openstack("server", "stop", "two")
        await run.await_status("server", "two", "SHUTOFF")
    with run.step("server started") as row:
        start = len(await run.console("two"))
        await run.openstack("server", "start", "two")
        await run.await_status("server", "two", "ACTIVE")
        row.result = await run.await_console("two", partial(last_with, pattern="guest: ready", after=start), "its boot")
    for kind in ("soft", "hard"):
        with run.step(f"server rebooted ({kind})") as row:
            start = len(await run.console("two"))
            await run.openstack("server", "reboot", f"--{kind}", "two")
            await run.await_status("server", "two", "ACTIVE")
            row.result = await run.await_console(
                "two", partial(last_with, pattern="guest: ready", after=start), "its boot"
            )


async def plug_volume(run: Runner) -> None:
    """A volume is attached live and the guest's kernel sees it."""
    with run.step("volume created") as row:
        await run.openstack("volume", "create", "data", "--size", "1")
        await run.await_status("volume", "data", "available")
        row.result = "1 GiB"
    with run.step("volume attached live, seen by the guest") as row:
        start = len(await run.console("one"))
        await run.openstack("server", "add", "volume", "one", "data")
        await run.await_status("volume", "data", "in-use")
        row.result = await run.await_console(
            "one",
            lambda lines: last_with(lines, r"guest: disk vdb size_bytes=1073741824", start - 5),
            "a disk vdb of 1 GiB",
        )
    with run.step("volume detached"):
        await run.openstack("server", "remove", "volume", "one", "data")
        await run.await_status("volume", "data", "available")


async def store_objects(run: Runner, scratch: Path) -> None:
    """Put, list, get and verify an object."""
    data = (hashlib.sha256(b"ostro").digest() * (1 << 15))[: 5 * (1 << 20)]
    (scratch / "object").write_bytes(data * 5)
    with run.step("object put, listed, got and verified") as row:
        await run.openstack("container", "create", "box")
        await run.openstack("object", "create", "box", str(scratch / "object"), "--name", "thing")
        names = [item["Name"] for item in await run.show("object", "list", "box")]
        await run.openstack("object", "save", "box", "thing", "--file", str(scratch / "back"))
        if names != ["thing"] or (scratch / "back").read_bytes() != (scratch / "object").read_bytes():
            raise StepFailed(f"the container holds {names}, or the object came back changed")
        row.result = f"{(scratch / 'object').stat().st_size} bytes"


async def delete_everything(run: Runner) -> None:
    """Delete what was made, and see that the lists are empty."""
    with run.step("servers deleted"):
        await run.openstack("server", "delete", "--wait", "one", "two", "three")
    with run.step("everything else deleted"):
        await run.together(
            ["volume", "delete", "data"],
            ["container", "delete", "--recursive", "box"],
            ["port", "delete", "peer", "shut"],
            ["keypair", "delete", "demo"],
            ["flavor", "delete", FLAVOR],
            ["image", "delete", "tiny"],
        )
        await run.together(["network", "delete", "demo"], ["security", "group", "delete", "shut"])
        await run.await_empty(["server", "port", "network", "image", "volume", "container"])


async def run_steps(run: Runner, image: Path) -> None:
    """All of it, in order; the first step that fails ends it."""
    with tempfile.TemporaryDirectory(prefix="ostro-demo-") as name:
        scratch = Path(name)
        await make_images_and_networks(run, image, scratch)
        await boot_servers(run, scratch)
        await look_inside(run)
        await filter_packets(run)
        await change_power(run)
        await plug_volume(run)
        await store_objects(run, scratch)
        await delete_everything(run)
        await trio.lowlevel.checkpoint()
