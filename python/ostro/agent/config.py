"""What an agent is started with."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ostro.runtime.ceph.config import CephConfig


@dataclass(frozen=True)
class AgentConfig:
    """``url`` is the control plane's endpoint, ``hypervisor`` is libvirt or fake, ``name`` what this host is called.

    Everything that the agent keeps is below ``state_dir``. ``use_system_parts`` false starts private daemons even where
    the system runs its own. With ``ceph``, disks are made there. ``physical`` says for each physical network which link device
    or bridge leads to it.
    """

    url: str
    agent_key: str
    state_dir: Path
    hypervisor: str = "libvirt"
    name: str = field(default_factory=socket.gethostname)
    use_system_parts: bool = True
    ceph: CephConfig | None = None
    physical: Mapping[str, str] = field(default_factory=dict)
