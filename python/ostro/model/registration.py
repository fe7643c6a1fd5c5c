"""How a host makes itself known to the control plane, and what it is told then. The same wire, and the same rules for it, as `ostro.model.wishes`."""

from __future__ import annotations

import msgspec


class Inventory(msgspec.Struct, frozen=True):
    """What a host offers, in Placement's resource classes, and what it is."""

    vcpus: int
    ram_mb: int
    disk_gb: int
    hypervisor_type: str
    hypervisor_version: int
    cpu_info: str
    traits: list[str] = []


class Registration(msgspec.Struct, frozen=True):
    """A host says who it is. ``incarnation`` is new with every start of the agent.

    ``epoch`` and ``fence_s`` are what it goes by until it is told otherwise, as in `Registered`.
    """

    name: str
    incarnation: str
    tunnel_ip: str
    inventory: Inventory
    epoch: int = 0
    fence_s: float = 0.0


class Registered(msgspec.Struct, frozen=True):
    """The control plane's answer: the host's id and how long it may stay silent.

    A host that was declared dead gets a new ``epoch``, and is heard when it registers with that. After ``fence_s`` without an answer it
    pauses its servers on disks that hosts share, 0 for never. ``urls`` are where else the control plane answers.
    """

    host_id: str
    cloud_id: str
    lease_s: float
    epoch: int = 0
    fence_s: float = 0.0
    urls: list[str] = []
