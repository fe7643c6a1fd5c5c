"""``ostro._core``'s netlink from Python, on the real kernel, in the tests' own network namespace."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ostro._core import Netlink

PREFIX = "onl-"
VXLAN: dict[str, Any] = {"name": "onl-vx", "kind": "vxlan", "vni": 9, "port": 4789, "local": "192.0.2.1", "mtu": 1400}
FLOOD = "00:00:00:00:00:00"


@pytest.fixture
def netlink() -> Iterator[Netlink]:
    netlink = Netlink()
    assert netlink.sync_links(PREFIX, [VXLAN]).counts == (1, 1, 0)
    yield netlink
    netlink.sync_links(PREFIX, [])
    assert not [name for name in netlink.links() if name.startswith(PREFIX)]


def test_links_are_made_once(netlink: Netlink) -> None:
    bridge = {"name": "onl-br", "kind": "bridge"}
    wanted = [bridge, {**VXLAN, "master": "onl-br"}]
    assert netlink.sync_links(PREFIX, wanted).counts == (1, 2, 0)
    again = netlink.sync_links(PREFIX, wanted)
    assert again.counts == (0, 0, 0) and again.refused == []
    held = netlink.links()
    assert held["onl-vx"]["master"] == held["onl-br"]["index"]
    found = {name: held["onl-vx"][name] for name in ("kind", "vni", "port", "local", "learning", "mtu", "up")}
    assert found == {
        "kind": "vxlan",
        "vni": 9,
        "port": 4789,
        "local": "192.0.2.1",
        "learning": False,
        "mtu": 1400,
        "up": True,
    }


def test_tables_become_what_is_wished_and_refusals_are_told(netlink: Netlink) -> None:
    entries: list[tuple[str, str, int | None, int | None]] = [
        (FLOOD, "192.0.2.2", None, None),
        (FLOOD, "192.0.2.3", None, None),
        ("02:00:00:00:00:01", "192.0.2.2", None, None),
        ("02:00:00:00:00:02", "192.0.2.2", 77, 8472),
    ]
    assert netlink.sync_fdb("onl-vx", entries).counts == (4, 0, 0)
    assert sorted(netlink.fdb("onl-vx"), key=str) == sorted(entries, key=str)
    report = netlink.sync_fdb("onl-vx", [*entries, ("02:00:00:00:00:03", "fd00::1", None, None)])
    assert report.counts == (0, 0, 0)
    [(what, why, errno)] = report.refused
    assert "02:00:00:00:00:03 to fd00::1" in what and why and errno > 0
    assert netlink.sync_neighbours("onl-vx", [("192.0.2.9", "02:00:00:00:00:09")]).counts == (1, 0, 0)
    assert netlink.neighbours("onl-vx") == [("192.0.2.9", "02:00:00:00:00:09")]


def test_wrong_calls_say_what_is_wrong(netlink: Netlink) -> None:
    with pytest.raises(KeyError, match="no device onl-none"):
        netlink.fdb("onl-none")
    with pytest.raises(ValueError, match="not a MAC address"):
        netlink.sync_fdb("onl-vx", [("x", "192.0.2.2", None, None)])
    with pytest.raises(ValueError, match="doesn't begin with"):
        netlink.sync_links(PREFIX, [{"name": "eth0", "kind": "bridge"}])
    with pytest.raises(ValueError, match="unknown variant"):
        netlink.sync_links(PREFIX, [{"name": "onl-x", "kind": "sofa"}])
