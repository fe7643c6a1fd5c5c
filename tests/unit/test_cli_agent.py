"""Where servers come in on a host that is started without a word about it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.agent.identity import Identity
from ostro.cli import agent
from ostro.cli.join import Joined
from ostro.cli.state import StateDir
from ostro.runtime.certificates import Authority, make_request, new_key
from ostro.runtime.world import World

JOINED = Joined(["https://192.0.2.1:8774"], "host-a")


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDir:
    """Of a host that has joined, and is at an address."""
    monkeypatch.setattr(agent, "default_address", lambda: "192.0.2.7")
    made, key, now_us = StateDir.make(tmp_path / "host-a"), new_key(), World().now_us()
    authority = Authority.make("Ostro", now_us)
    issued, _ = authority.sign_host(make_request(key, "host-a"), "host-a", now_us, 3600.0)
    Identity(made.host, "host-a").keep(key, issued.pem, authority.cert_pem)
    return made


def test_a_host_that_has_joined_takes_servers_where_its_tunnels_end(state: StateDir) -> None:
    assert agent.own_landing(state, JOINED, "libvirt") == "192.0.2.7"


def test_none_come_where_they_could_not_come_encrypted(
    state: StateDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agent.own_landing(StateDir.make(tmp_path / "stranger"), JOINED, "libvirt") == ""
    assert agent.own_landing(state, JOINED, "fake") == "", "several may be on one machine"
    monkeypatch.setattr(Identity, "lay_out", lambda _self: False)
    assert agent.own_landing(state, JOINED, "libvirt") == "", "its certificate is of before libvirt was shown any"


def test_none_come_to_a_host_that_is_reached_from_nowhere(state: StateDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "default_address", lambda: "127.0.0.1")
    assert agent.own_landing(state, JOINED, "libvirt") == ""
