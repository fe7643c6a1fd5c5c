"""100,000 flows into a real ovs-vswitchd: ours, and ``ovs-ofctl --bundle add-flows`` of the same flows, in turn.

Both fill an empty bridge of their own on one private Open vSwitch in a network namespace of its own. Ours are what the core compiles
for 1,000 ports on 100 networks, 10,000 peers and 50,000 rules; what `ovs-ofctl` dumps of them is what it is given. The namespace, and so
this measurement, needs root.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.micro.figure import Figure, in_turn, seconds
from ostro._core import FlowState, Switch
from ostro.testing.namespaces import OwnNetwork
from ostro.testing.openvswitch import TestOpenVSwitch, serve_openvswitch

NETWORKS, PORTS, PEERS, GROUPS, RULES = 100, 1000, 10_000, 500, 100
ROUNDS = 3
ANSWER_S = 60.0
OURS, THEIRS = "ours", "theirs"


def figures() -> Iterator[Figure]:
    """Seconds for all flows, and the flows a second that makes."""
    if os.geteuid() != 0 or shutil.which("ovs-vswitchd") is None:
        print("switch.*: left out, because it needs root and Open vSwitch", file=sys.stderr)
        return
    OwnNetwork()
    with serve_openvswitch() as switch:
        run_dir = switch.own.run_dir
        for bridge in (OURS, THEIRS):
            settings = ["datapath_type=netdev", "fail_mode=secure", "protocols=OpenFlow15"]
            _vsctl(run_dir, "add-br", bridge, "--", "set", "bridge", bridge, *settings)
        count = _sync(run_dir)[1]
        dump = _dump(run_dir, switch)
        ours, theirs = in_turn(ROUNDS, lambda: _sync(run_dir)[0], lambda: _add(run_dir, dump))
        for bridge in (OURS, THEIRS):
            _vsctl(run_dir, "del-br", bridge)
    yield Figure("switch.flows", count, "flows", 100_000)
    yield Figure("switch.fill", ours, "s", theirs)


def _vsctl(run_dir: Path, *words: str) -> None:
    subprocess.run(["ovs-vsctl", f"--db=unix:{run_dir}/db.sock", *words], check=True, capture_output=True)


def _ofctl(run_dir: Path, *words: str) -> str:
    command = ["ovs-ofctl", "-O", "OpenFlow15", *words]
    environment = os.environ | {"OVS_RUNDIR": str(run_dir)}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout


def _target(run_dir: Path, bridge: str) -> str:
    return f"unix:{run_dir}/{bridge}.mgmt"


def _dump(run_dir: Path, switch: TestOpenVSwitch) -> Path:
    """What `ovs-ofctl` says of our flows, in a file."""
    said = _ofctl(run_dir, "--no-names", "--no-stats", "dump-flows", _target(run_dir, OURS))
    path = switch.state_dir / "flows"
    path.write_text("".join(f"{line.strip()}\n" for line in said.splitlines() if "actions=" in line))
    return path


def _add(run_dir: Path, dump: Path) -> float:
    """Fill their bridge."""
    _ofctl(run_dir, "del-flows", _target(run_dir, THEIRS))
    return seconds(lambda: _ofctl(run_dir, "--bundle", "add-flows", _target(run_dir, THEIRS), str(dump)))


def _sync(run_dir: Path) -> tuple[float, int]:
    """Fill our bridge; how long it took and how many flows there were."""
    _ofctl(run_dir, "del-flows", _target(run_dir, OURS))
    state = _wished()
    diff = state.commit()
    link = Switch(str(run_dir / f"{OURS}.mgmt"), state)
    try:
        _wait(link, "connected")
        started_s = time.perf_counter()
        link.sync(diff)
        event = _wait(link, "synced")
        took_s = time.perf_counter() - started_s
    finally:
        link.close()
    assert not event.lines, event.lines[:3]
    return took_s, event.counts[0]


def _wait(link: Switch, kind: str) -> Any:
    """The next event of a kind."""
    until_s = time.monotonic() + ANSWER_S
    while time.monotonic() < until_s:
        select.select([link.fileno()], [], [], ANSWER_S)
        for event in link.events():
            if event.kind == kind:
                return event
    raise TimeoutError(f"the switch has not {kind} within {ANSWER_S} s")


def _mac(kind: int, at: int) -> str:
    return f"02:{kind:02x}:00:{at >> 16 & 255:02x}:{at >> 8 & 255:02x}:{at & 255:02x}"


def _wished() -> FlowState:
    """The state that `bench/rust/benches/flow.rs` compiles."""
    state = FlowState()
    state.set_uplinks({"vxlan": 1})
    wishes = [
        *map(_network, range(NETWORKS)),
        *map(_group, range(GROUPS)),
        *map(_port, range(PORTS)),
        *map(_peer, range(PEERS)),
    ]
    for noun, body in wishes:
        state.put(noun, body["id"], json.dumps(body).encode())
    for at in range(PORTS):
        state.bind(f"port-{at}", 100 + at)
    return state


def _network(at: int) -> tuple[str, dict[str, Any]]:
    subnet = {
        "id": f"sub-{at}",
        "cidr": f"10.{at}.0.0/16",
        "dhcp": True,
        "service_ip": f"10.{at}.0.2",
        "gateway_ip": f"10.{at}.0.1",
    }
    segment = {"type": "vxlan", "id": 1000 + at}
    id_ = f"net-{at}"
    return "network", {
        "id": id_,
        "name": id_,
        "segment": segment,
        "mtu": 1450,
        "service_mac": _mac(9, at),
        "subnets": [subnet],
    }


def _group(at: int) -> tuple[str, dict[str, Any]]:
    id_ = f"group-{at}"
    rules = [
        {
            "id": f"{at}-{rule}",
            "direction": "ingress" if rule % 3 else "egress",
            "ethertype": "IPv4",
            "protocol": "tcp",
            "port_min": 1000 + rule,
            "port_max": 1000 + rule,
            "remote_group_id": "" if rule % 10 else id_,
            "remote_ip_prefix": f"192.{rule}.0.0/16" if rule % 10 else "",
        }
        for rule in range(RULES)
    ]
    return "security_group", {"id": id_, "name": id_, "rules": rules}


def _port(at: int) -> tuple[str, dict[str, Any]]:
    network = at % NETWORKS
    fixed_ip = {"subnet_id": f"sub-{network}", "ip": f"10.{network}.1.{3 + at // NETWORKS}"}
    places = {"network_id": f"net-{network}", "mac": _mac(1, at), "tap": f"tap{at}"}
    return "port", {"id": f"port-{at}", **places, "fixed_ips": [fixed_ip], "security_groups": [f"group-{at % GROUPS}"]}


def _peer(at: int) -> tuple[str, dict[str, Any]]:
    network = at % NETWORKS
    places = {"network_id": f"net-{network}", "mac": _mac(2, at), "tunnel_ip": f"198.51.{at % 4}.{1 + at % 250}"}
    ips = [f"10.{network}.100.{at // NETWORKS % 250}"]
    return "peer", {"id": f"peer-{at}", **places, "ips": ips, "security_groups": [f"group-{at % GROUPS}"]}
