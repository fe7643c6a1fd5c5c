"""What an agent is started with."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ostro.runtime.ceph.config import CephConfig


@dataclass(frozen=True)
class AgentConfig:
    """``urls`` are the control plane's endpoints, ``hypervisor`` is libvirt or fake, ``name`` what this host is called.

    A host that has joined shows its certificate (`ostro.agent.identity`) and has no ``agent_key``. Everything that the agent keeps is below ``state_dir``. ``use_system_parts`` false starts private daemons even where
    the system runs its own. With ``ceph``, disks are made there. ``physical`` says for each physical network which link device
    or bridge leads to it.

    At ``migrate_address``, in a network that only hosts are in, other hosts' hypervisors reach this one's on ``migrate_port``, and their agents fetch
    disks on the port after it; without one no server comes from another host. With ``pki`` hypervisors show each other certificates from there.
    """

    urls: tuple[str, ...]
    agent_key: str
    state_dir: Path
    hypervisor: str = "libvirt"
    name: str = field(default_factory=socket.gethostname)
    use_system_parts: bool = True
    ceph: CephConfig | None = None
    physical: Mapping[str, str] = field(default_factory=dict)
    migrate_address: str = ""
    migrate_port: int = 16509
    pki: Path | None = None
