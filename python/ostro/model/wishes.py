"""The agent contract: what the control plane wishes of a host, and what the host reports back.

A **wish** is the full desired state of one object on one host, named by ``(noun, id)``. The control plane
stamps it with the host revision at which it last changed and with a generation that grows with every change
of the object. A wish whose body is ``None`` is a wish for absence: it stays until the host has reported the
object absent at that generation. A **report** is what the host found, for the generation it acted on.

These structs are the single source of the JSON on the wire (``api/agent/`` holds the schema made from them);
the network nouns are read by the Rust ``flow`` crate from the same bytes. Unknown fields are ignored by both
sides, so control plane and agents can run different releases; fields are only ever added, with a default.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Noun(StrEnum):
    """What a wish can be about."""

    NETWORK = "network"
    SECURITY_GROUP = "security_group"
    PORT = "port"
    PEER = "peer"
    ROUTER = "router"
    FLOATING_IP = "floating_ip"
    IMAGE = "image"
    VOLUME = "volume"
    SNAPSHOT = "snapshot"
    UPLOAD = "upload"
    SERVER = "server"
    ASK = "ask"


class Segment(msgspec.Struct, frozen=True):
    """How a network's frames travel between hosts: ``type`` is vxlan, gre, geneve, vlan, flat or local."""

    type: str
    id: int = 0
    physical_network: str = ""


class HostRoute(msgspec.Struct, frozen=True):
    """A route that DHCP option 121 hands out."""

    destination: str
    nexthop: str


class SubnetWish(msgspec.Struct, frozen=True):
    """One subnet of a network. ``service_ip`` is the address of DHCP and the next hop to metadata, empty without DHCP.

    ``ra_mode`` and ``address_mode`` are those of IPv6 as Neutron has them: slaac, dhcpv6-stateless, dhcpv6-stateful or empty.
    """

    id: str
    cidr: str
    gateway_ip: str = ""
    dhcp: bool = False
    service_ip: str = ""
    dns: list[str] = []
    host_routes: list[HostRoute] = []
    ra_mode: str = ""
    address_mode: str = ""


class NetworkWish(msgspec.Struct, frozen=True):
    """A network that has ports on this host. ``service_mac`` owns every subnet's ``service_ip`` and 169.254.169.254."""

    id: str
    name: str
    segment: Segment
    mtu: int
    service_mac: str
    subnets: list[SubnetWish] = []


class RuleWish(msgspec.Struct, frozen=True):
    """One security group rule. ``protocol`` is a name or number or empty for any; ports are -1 when any.

    For ICMP ``port_min`` is the type and ``port_max`` the code, as in Neutron.
    """

    id: str
    direction: str
    ethertype: str
    protocol: str = ""
    port_min: int = -1
    port_max: int = -1
    remote_ip_prefix: str = ""
    remote_group_id: str = ""


class SecurityGroupWish(msgspec.Struct, frozen=True):
    """A group that a port on this host uses. Its members are derived: ports and peers that list the group."""

    id: str
    name: str
    stateful: bool = True
    rules: list[RuleWish] = []


class FixedIp(msgspec.Struct, frozen=True):
    """An address of a port in one subnet."""

    subnet_id: str
    ip: str


class AddressPair(msgspec.Struct, frozen=True):
    """A further source address (or prefix) that a port may use; an empty ``mac`` means the port's own."""

    ip: str
    mac: str = ""


class PortWish(msgspec.Struct, frozen=True):
    """A port on this host. ``tap`` is the name of its link device; ``server_id`` owns it in the metadata service."""

    id: str
    network_id: str
    project_id: str
    mac: str
    tap: str
    fixed_ips: list[FixedIp] = []
    security_groups: list[str] = []
    address_pairs: list[AddressPair] = []
    port_security: bool = True
    admin_up: bool = True
    server_id: str = ""
    hostname: str = ""


class PeerWish(msgspec.Struct, frozen=True):
    """A port on another host that a port here may talk to: where to tunnel to, and which groups it is a member of."""

    id: str
    network_id: str
    mac: str
    tunnel_ip: str
    ips: list[str] = []
    security_groups: list[str] = []
    address_pairs: list[AddressPair] = []


class FaceWish(msgspec.Struct, frozen=True):
    """Where a router stands in a network. ``ips`` are its addresses there with their prefixes, such as ``10.0.0.1/24``.

    ``mac`` is the same on every host that has the router, and no other router's or network's.
    """

    network_id: str
    mac: str
    ips: list[str] = []


class GatewayWish(msgspec.Struct, frozen=True):
    """A router's way to the outside: where it stands in an external network, and how it goes on from there.

    ``next_hops`` has at most one address of each family. With ``snat`` what has no floating address goes out under the router's first
    IPv4 address. ``tunnel_ip`` is the host that the router goes out by, empty if it is this one: there alone addresses are translated.
    That host needs the router's networks, with all their ports as peers, and the external network.
    """

    network_id: str
    mac: str
    ips: list[str] = []
    next_hops: list[str] = []
    snat: bool = True
    tunnel_ip: str = ""


class RouterWish(msgspec.Struct, frozen=True):
    """A router between networks of this host. Each host routes what its own ports send: a host with a port in one of a
    router's networks needs the router and all of its networks, with their ports elsewhere as peers."""

    id: str
    name: str
    admin_up: bool = True
    interfaces: list[FaceWish] = []
    gateway: GatewayWish | None = None
    routes: list[HostRoute] = []


class FloatingIpWish(msgspec.Struct, frozen=True):
    """An address outside that stands for ``fixed_ip`` inside, one to one. Only the host of the router's gateway needs it."""

    id: str
    router_id: str
    floating_ip: str
    fixed_ip: str


class ImageWish(msgspec.Struct, frozen=True):
    """An image that a server or volume of this host is made from, to hold in the host's cache.

    ``stored_as`` names the bytes in storage that control plane and hosts share, where there is any.
    """

    id: str
    disk_format: str
    size_bytes: int
    sha512: str
    stored_as: str = ""


class EncryptionWish(msgspec.Struct, frozen=True):
    """How a volume is encrypted: ``format`` is luks. The host asks for the passphrase when it needs it; no wish bears one."""

    format: str
    cipher: str
    key_bits: int


class RevertWish(msgspec.Struct, frozen=True):
    """A volume shall hold again what it held at its snapshot, and that once: ``id`` is a new one each time."""

    id: str
    snapshot_id: str


class VolumeWish(msgspec.Struct, frozen=True):
    """A volume kept by this host. ``image_id`` is what it starts from, empty for blank.

    ``backend`` is the kind of storage it shall be in (``local``, ``ceph``), empty for the one that the host prefers. A ``borrowed`` volume is in storage
    that hosts share and another host looks after it: this one may plug it into servers, and never makes, moves, grows or deletes it.
    With a ``source_snapshot_id`` it starts as the source volume was then. What is copied of a volume is encrypted as that was.
    ``limits`` is what the storage shall hold it to, by upstream's names (``total_iops_sec``), where it can.
    While there is a ``revert`` nobody has the volume plugged in.
    """

    id: str
    size_gb: int
    image_id: str = ""
    source_volume_id: str = ""
    backend: str = ""
    borrowed: bool = False
    source_snapshot_id: str = ""
    encryption: EncryptionWish | None = None
    limits: dict[str, int] = {}
    revert: RevertWish | None = None


class SnapshotWish(msgspec.Struct, frozen=True):
    """What one of this host's volumes holds at the moment when the host makes the snapshot. It is in the volume's kind of storage."""

    id: str
    volume_id: str


class UploadWish(msgspec.Struct, frozen=True):
    """An image in ``disk_format`` to be made, once, of what one of this host's volumes holds.

    The host sends its bytes. Where the control plane keeps images in storage that hosts share (``shared``) and the volume is there, too, it puts
    a raw image there by itself, named by the id of this wish, and reports READY with the ``size_gb``.
    """

    id: str
    volume_id: str
    disk_format: str
    shared: bool = False


class AttachmentWish(msgspec.Struct, frozen=True):
    """A volume that a server must have plugged in. ``device`` is the guest's name for it, such as ``vdb``.

    ``limits`` is what the hypervisor holds it to, by libvirt's names (``total_bytes_sec``)."""

    id: str
    volume_id: str
    device: str
    limits: dict[str, int] = {}


class Power(StrEnum):
    """What a server's domain must do, or was found doing."""

    ON = "on"
    OFF = "off"
    PAUSED = "paused"
    CRASHED = "crashed"
    UNKNOWN = "unknown"


class KeyWish(msgspec.Struct, frozen=True):
    """A public key handed to the guest by the metadata service."""

    name: str
    public_key: str


class ComingWish(msgspec.Struct, frozen=True):
    """The server is on its way to this host and another has it: be ready for it, and never start it by oneself.

    Live, the host makes ready what the server needs and reports READY with a ``landing`` for the other host; with ``copy`` it has made the disks
    that hosts don't share, blank, for the other's hypervisor to fill. When the guest runs here, it reports its ``power`` and that it has
    ``migrated``. ``closed`` says that it is not to come any more: the host reports whether it has the guest, and throws away what hasn't
    become one.

    ``cold``, the server is off: the host takes over its root disk, fetched by the other host's ``offer`` where that isn't empty, and reports READY.
    """

    migration_id: str
    copy: bool = False
    closed: bool = False
    cold: bool = False
    offer: str = ""


class GoingWish(msgspec.Struct, frozen=True):
    """The server shall leave this host for the one that reported ``landing``, and run on meanwhile.

    Each migration is tried at most once, and how it ends is reported. ``force`` ends it soon, at the price of a slow or paused guest; ``abort``
    breaks it off. With neither, the host does one of them by itself after ``timeout_s`` (0: never): ``timeout_force`` says which.

    ``cold``, the host switches the server off and reports READY with an ``offer``, by which the other host fetches its root disk; empty
    where hosts share it.

    With ``left`` the server is another host's, the ``heir``'s: the host removes the domain, lets the heir have a root disk that hosts share, and
    reports that the server has ``migrated``. Its absence is wished only then, because that would delete the disk.
    """

    migration_id: str
    landing: str = ""
    copy: bool = False
    abort: bool = False
    force: bool = False
    timeout_s: int = 0
    timeout_force: bool = False
    cold: bool = False
    left: bool = False
    heir: str = ""


class ServerWish(msgspec.Struct, frozen=True):
    """A server on this host.

    ``reboots`` counts reboots asked for and ``reboot_hard`` is the kind of the last one: the host reboots when the count
    it has carried out for this server is smaller. ``user_data`` is base64. ``ports`` are in the order of the guest's NICs.
    With ``taken_from``, the name of a host that may not know yet that it has lost the server, the first start here comes after that host is shut out of the
    disks that both reach. A guest that powers off by itself is reported off at the generation that had it on, and stays off until there is a newer one.

    A server that moves is wished of two hosts, ``coming`` to one and ``going`` from the other.
    """

    id: str
    name: str
    project_id: str
    user_id: str
    hostname: str
    vcpus: int
    ram_mb: int
    disk_gb: int
    image_id: str = ""
    root_volume_id: str = ""
    root_limits: dict[str, int] = {}
    ports: list[str] = []
    attachments: list[AttachmentWish] = []
    power: Power = Power.ON
    reboots: int = 0
    reboot_hard: bool = False
    user_data: str = ""
    keys: list[KeyWish] = []
    metadata: dict[str, str] = {}
    availability_zone: str = "nova"
    created_at: str = ""
    taken_from: str = ""
    coming: ComingWish | None = None
    going: GoingWish | None = None


class AskWish(msgspec.Struct, frozen=True):
    """A question that the host answers once. ``what`` is ``console_log`` of a server (``length`` in lines, -1 for all
    that is kept) or ``flows``, the host's flow tables in words."""

    id: str
    what: str
    server_id: str = ""
    length: int = -1


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """One entry of the change feed. ``body`` is one of the structs above by ``noun``, or None for absence."""

    noun: Noun
    id: str
    generation: int
    body: msgspec.Raw | None
    request_id: str = ""
    """The request that it comes from, for the host's log."""


class Phase(StrEnum):
    """How far a host has come with one wish."""

    WORKING = "working"
    READY = "ready"
    ABSENT = "absent"
    FAILED = "failed"


class MigrationState(StrEnum):
    """How far a host has come with sending or receiving a server. UNKNOWN: it can't tell, and the other host must be asked."""

    RUNNING = "running"
    MIGRATED = "migrated"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"


class MigrationReport(msgspec.Struct, frozen=True):
    """A migration as one of its hosts sees it. Amounts are in bytes; disks count only where they are copied."""

    id: str
    state: MigrationState
    reason: str = ""
    memory_total: int = 0
    memory_processed: int = 0
    memory_remaining: int = 0
    disk_total: int = 0
    disk_processed: int = 0
    disk_remaining: int = 0


class Stage(msgspec.Struct, frozen=True):
    """How far the work on an object had come at a time, by the host's clock."""

    name: str
    at_us: int


class Report(msgspec.Struct, frozen=True):
    """What a host found for one object, having acted on ``generation``.

    ``FAILED`` means that the host has given up on this generation and will not try again by itself; passing trouble is
    ``WORKING`` with a ``reason``. The noun's own findings: for a server ``power``, ``reboots`` carried out and
    the ``attached`` volume ids, the ``backend`` that its own root disk is in, and while it moves the ``migration`` and, for the other host, a ``landing`` or ``offer``; for a volume its ``size_gb`` and the ``backend`` that it is in; for an upload the ``size_gb``; for an ask the ``answer``.
    ``stages`` are what has been passed since the last report.
    """

    noun: Noun
    id: str
    generation: int
    phase: Phase
    reason: str = ""
    power: Power = Power.UNKNOWN
    reboots: int = 0
    attached: list[str] = []
    size_gb: int = 0
    answer: str = ""
    backend: str = ""
    landing: str = ""
    offer: str = ""
    migration: MigrationReport | None = None
    stages: list[Stage] = []


class Feed(msgspec.Struct, frozen=True):
    """Answer of the change feed: every wish changed after ``since`` up to ``revision``; all of them when ``full``."""

    revision: int
    full: bool
    wishes: list[Wish]
