"""The hypervisor driver: the domains of this cloud on this host, and nobody else's.

A domain belongs to us when it carries our tag with the cloud's id; others are never listed and never touched. The tag
also holds a **memo**, what the agent must remember of the domain across its own restarts and the hypervisor's: the
generation it has carried out, the reboots it has carried out, the boot of the host in which it last started the domain, and the migration
by which it has come or was last sent. The memo is stored with the domain and dies with it, so it can't be out of step with it.

Every method is idempotent and may be cancelled anywhere; calling it again finishes the work. A call that hangs (an
unreachable disk server, a stuck monitor) ends in ``Unavailable`` at its deadline and doesn't hold up other domains.

Implementations: `ostro.agent.drivers.hypervisor.libvirt` (QEMU, by KVM or TCG) and `ostro.agent.drivers.hypervisor.fake`
(for load and rehearsal). Both pass one conformance suite. Each module has an ``open_(world, config)`` async context
manager; inside it the driver watches its domains in a task of its own nursery, and on leaving it domains stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol

import msgspec

from ostro.agent.drivers.block import CephAccess
from ostro.model.volumes import CEPH, LOCAL
from ostro.model.wishes import Power


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the host offers and what was chosen when the driver was opened.

    ``acceleration`` is ``kvm``, ``tcg`` or ``none`` (fake) and ``why`` says in one sentence why. ``hypervisor_type`` and
    ``hypervisor_version`` (QEMU 7.2.22 is 7002022) are what Compute shows; ``cpu_info`` is a JSON object in Nova's form.
    ``boot_id`` changes whenever the host starts anew.
    """

    hypervisor_type: str
    hypervisor_version: int
    acceleration: str
    why: str
    vcpus: int
    ram_mb: int
    cpu_info: str
    boot_id: str
    traits: list[str] = []


class Disk(msgspec.Struct, frozen=True):
    """What a domain has as a disk, named as `ostro.agent.drivers.block.Stored` does.

    ``format`` is qcow2, raw or luks and is never guessed; ``volume_id`` is empty for a root disk. A luks disk is opened with the key that was kept for its
    volume (`Hypervisor.keep_key`). ``limits`` is what the hypervisor holds the disk to, by libvirt's names (``total_iops_sec``).
    """

    device: str
    path: str
    format: str
    volume_id: str = ""
    ceph: CephAccess | None = None
    limits: dict[str, int] = {}


class Nic(msgspec.Struct, frozen=True):
    """A network card on a tap that exists before the domain starts. Without ``offload`` the guest computes its own checksums."""

    mac: str
    tap: str
    mtu: int
    offload: bool


class Memo(msgspec.Struct, frozen=True):
    """What the agent remembers with a domain; see the module's docstring."""

    generation: int
    reboots: int
    boot_id: str
    move: str = ""


class DomainSpec(msgspec.Struct, frozen=True):
    """All that a domain is made from. The first disk is the one it boots from."""

    server_id: str
    name: str
    project_id: str
    vcpus: int
    ram_mb: int
    disks: list[Disk]
    nics: list[Nic]


class Domain(msgspec.Struct, frozen=True):
    """A domain of ours as it was found. ``attached`` lists the ids of the volumes plugged in and ``nics`` the addresses (MAC) of its
    cards, in no particular order. ``shared`` says whether it has a disk in storage that hosts share, ``root_backend`` where its root disk is
    (``local``, ``ceph``), empty where that is a volume.

    ``moving`` is a domain that a migration of ours is under way with, from here or to here; one that comes is not yet this host's. ``sent`` is one that
    is off because its guest has gone to another host, as far as the hypervisor remembers that. ``stalled`` is one that the hypervisor has paused
    because its storage had no room, or failed.
    """

    server_id: str
    power: Power
    memo: Memo
    attached: list[str]
    nics: list[str] = []
    shared: bool = False
    moving: bool = False
    sent: bool = False
    stalled: bool = False
    root_backend: str = ""


def find_root_backend(disks: Iterable[Disk]) -> str:
    """Where the root disk among a domain's disks is, empty when it has none of its own."""
    return next((LOCAL if disk.ceph is None else CEPH for disk in disks if not disk.volume_id), "")


class Progress(msgspec.Struct, frozen=True):
    """How far a migration from here has come, in bytes; disks count where they are copied."""

    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0


class Hypervisor(Protocol):
    """One host's hypervisor. Safe from one trio thread; calls for different domains run side by side.

    Besides what each method says, all may raise Unavailable: the hypervisor didn't answer in time or is away; try again.
    """

    @property
    def facts(self) -> Facts:
        """What was found and chosen at opening."""
        ...

    def watch(self, cloud_id: str, changed: Callable[[str], None]) -> None:
        """Say which cloud's domains are ours, before any method below; and whom to call when one may have changed.

        ``changed`` is called on the trio thread with a server's id, or with ``""`` when any may have changed (the hypervisor
        was away). It must not block. Calls may be merged, repeated or about nothing, but no lasting change goes without one.
        """
        ...

    async def domains(self) -> list[Domain]:
        """Every domain of ours, running or not, ordered by id."""
        ...

    async def find(self, server_id: str) -> Domain | None:
        """One domain of ours, or None."""
        ...

    async def define(self, spec: DomainSpec, memo: Memo) -> None:
        """Make the domain, off, or make it anew from ``spec`` and ``memo``. A running one keeps running as it was started.

        Raises:
            Invalid: the hypervisor refuses such a domain.
            Conflict: the name or id is taken by a domain that isn't ours.
        """
        ...

    async def start(self, server_id: str) -> None:
        """Switch the domain on, or let it go on where it was paused. A running one is left alone.

        Raises:
            NotFound: there is no such domain of ours.
            NoCapacity: the host lacks the memory or disk for it.
        """
        ...

    async def pause(self, server_id: str) -> None:
        """Have a domain that is on stand still, so that it writes nothing, until it is started. Any other is left alone; being gone succeeds."""
        ...

    async def stop(self, server_id: str, grace_s: float) -> None:
        """Ask the guest to power off (ACPI button), and switch it off after ``grace_s``; at once when that is 0.

        Returns when it is off. It being off, or not there at all, succeeds.
        """
        ...

    async def delete(self, server_id: str) -> None:
        """Switch the domain off and forget it, its memo and its console log. It being gone succeeds. Disks are kept."""
        ...

    async def attach(self, server_id: str, disk: Disk) -> None:
        """Plug the disk in, now and for later starts. It being plugged in already succeeds.

        Raises:
            NotFound: there is no such domain of ours.
            Conflict: no slot is free, or the device name is taken.
        """
        ...

    async def detach(self, server_id: str, volume_id: str) -> None:
        """Pull the volume out, now and for later starts, and return when the guest has let it go. It being out succeeds.

        Raises:
            Unavailable: the guest hasn't let go of it (it may not be up yet); try again.
        """
        ...

    async def plug(self, server_id: str, nic: Nic) -> None:
        """Plug a network card in, now and for later starts; its tap is there. One with that address being in already succeeds.

        Raises:
            NotFound: there is no such domain of ours.
            Conflict: no slot is free.
        """
        ...

    async def unplug(self, server_id: str, mac: str) -> None:
        """Pull the network card out, now and for later starts, and return when the guest has let it go. It being out succeeds.

        Raises:
            Unavailable: the guest hasn't let go of it (it may not be up yet); try again.
        """
        ...

    async def keep_key(self, volume_id: str, passphrase: str) -> None:
        """Have what opens an encrypted volume at hand, in memory only, until ``forget_key``. To be called before any domain with it is started
        or has it plugged in: the hypervisor may have forgotten it meanwhile."""
        ...

    async def forget_key(self, volume_id: str) -> None:
        """Forget what opens a volume; running domains go on. It being forgotten succeeds."""
        ...

    async def resize(self, server_id: str, volume_id: str, size_bytes: int) -> None:
        """Make a plugged-in volume's file larger and tell the running guest. Only for a domain that is on.

        Raises:
            NotFound: there is no such domain of ours, or it doesn't have the volume.
        """
        ...

    async def note(self, server_id: str, memo: Memo) -> None:
        """Replace the memo. Raises NotFound when there is no such domain of ours."""
        ...

    async def prepare_arrival(self, spec: DomainSpec, memo: Memo) -> str:
        """Be ready to take a domain over from another host's hypervisor, and return what that needs to know of this one.

        The domain will be as ``spec`` says, with ``memo``; its disks and taps are there. Nothing is started here, and nothing has to be undone but
        what `delete` does.

        Raises:
            Unsupported: other hosts can't reach this hypervisor.
        """
        ...

    async def migrate(self, server_id: str, landing: str, *, copy: bool) -> None:
        """Send a running domain to the hypervisor whose `prepare_arrival` returned ``landing``, and return when it runs there.

        With ``copy``, what its disks hold is sent along, and without, both hosts have them. The guest's own pace decides how long that takes: this has no
        deadline. The domain stays defined here, off. Cancelled or not, the attempt goes on by itself; see ``Domain.moving``.

        Raises:
            NotFound: there is no such domain of ours.
            Unavailable: it failed, or was aborted, and the domain runs on here.
        """
        ...

    async def migration(self, server_id: str) -> Progress | None:
        """How far a migration from here has come; None when none is under way."""
        ...

    async def abort_migration(self, server_id: str) -> None:
        """Break off a migration from here. There being none succeeds."""
        ...

    async def force_migration(self, server_id: str) -> None:
        """Bring a migration from here to its end soon, by running the guest on the other host before all its memory is there, or else by pausing it
        meanwhile. There being none succeeds."""
        ...

    async def console_log(self, server_id: str, lines: int) -> str:
        """The last ``lines`` lines of the serial console, -1 for all that is kept (bounded); empty when there is none."""
        ...
