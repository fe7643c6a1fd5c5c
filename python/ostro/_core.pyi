"""The Rust core: placement, flow tables, OpenFlow, chunks and digests.

Everything here may be called from any thread. Calls that may take longer than about 50 microseconds release
the interpreter. A defect of the core raises :class:`Bug` with the panic's message and leaves the object usable.
Buffers: ``bytes`` and contiguous memoryviews of ``bytes`` are read in place, any other buffer is copied first.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias, final

from _typeshed import ReadableBuffer as Buffer

__version__: Final[str]

class Bug(RuntimeError):
    """A defect of Ostro's Rust core: it panicked, and says where."""

# ---- placement -------------------------------------------------------------------------------------------------

class NoRoom(Exception):
    """A claim doesn't fit any more; nothing was claimed."""

@final
class Request:
    """What a server asks for, read once; wherever a request is taken, a mapping of the same fields does too.

    All fields are optional, but something must be asked for:

    - ``resources`` (class -> amount), ``required`` (traits: ``NAME``, ``!NAME``, ``in:A,B``), ``member_of``
      (aggregates: ``ID``, ``!ID``, ``in:A,B``, ``!in:A,B``), ``in_tree`` (a provider): the group without a name.
      It may take each class from another provider of the host's tree, or from one shared by an aggregate.
    - ``groups``: name -> the same four, answered by one provider each; and ``numa_policy`` for devices:
      ``preferred`` (default), ``required``, ``socket``, ``legacy``.
    - ``group_policy`` (``none`` or ``isolate``), ``same_subtree`` (lists of group names), ``root_required``.
    - ``az``, ``only_hosts``, ``not_hosts``, ``limits`` (metric -> most).
    - ``server_group``: ``id``, ``policy`` (``affinity``, ``anti-affinity``, ``soft-affinity``,
      ``soft-anti-affinity``), ``max_per_host=1``.
    - ``numa``: ``cells`` (each ``pinned=0 shared=0 memory_mb``), ``thread_policy`` (``prefer``, ``isolate``,
      ``require``), ``page`` (``small``, ``large``, ``any`` or ``{"kb": 2048}``).
    - ``weights``: name -> factor; a positive one for a resource class spreads, a negative one packs. Without
      it each class asked for weighs 1. Also ``maintenance=-1000``, ``devices=-1``, ``soft_affinity=1``,
      ``soft_anti_affinity=1``, ``trait:NAME``, ``metric:NAME``.
    """

    def __new__(cls, request: Mapping[str, Any]) -> Request:
        """Raises ValueError for a wrong field, saying which."""

    @staticmethod
    def from_query(pairs: Sequence[tuple[str, str]]) -> tuple[Request, int | None]:
        """Read Placement's ``GET /allocation_candidates`` query (1.39, decoded pairs): the request and ``limit``.

        Raises ValueError with a message for who sent it.
        """

@final
class HostTable:
    """Every host this process knows, in columns, kept current by deltas.

    The same table, request and seed give the same answer. Deltas take under a microsecond, decisions a few.
    """

    def __new__(cls) -> HostTable: ...
    def __len__(self) -> int:
        """Hosts in the table."""

    def __contains__(self, host_id: str, /) -> bool:
        """The host is in the table."""

    def set_host(self, host_id: str, host: Mapping[str, Any]) -> None:
        """Add a host or change what it has; what is used on it stays used. All fields are optional:

        - ``inventories``: class -> ``total`` and, by default, ``reserved=0 min_unit=1 max_unit=2**31-1 step_size=1
          allocation_ratio=1.0``; ``traits``, ``aggregates``: of the root provider, whose id is the host's.
        - ``az``, ``enabled=True``, ``maintenance=False``, ``metrics`` (name -> number).
        - ``providers``: nested ones, parents first, each ``id``, ``parent`` (the root), ``inventories``,
          ``traits``, ``aggregates``, ``numa_cell``.
        - ``numa``: cells, each ``id``, ``socket=0``, ``cores`` (lists of thread siblings), ``shared_vcpus=0``,
          ``pages`` (KiB -> how many).

        A provider with the trait MISC_SHARES_VIA_AGGREGATE gives to hosts that have an aggregate of its.
        Raises ValueError for a wrong field, saying which.
        """

    def remove_host(self, host_id: str) -> bool:
        """Forget a host, what is used on it, its group members. False if it wasn't there."""

    def set_enabled(self, host_id: str, enabled: bool) -> None:
        """Take a host out of service or put it back. Raises KeyError if the host isn't in the table."""

    def set_used(self, host_id: str, used: Mapping[str, int], *, provider: str | None = None) -> None:
        """Say what is used of the classes named, of the root or of a nested provider. Raises KeyError."""

    def add_used(self, host_id: str, delta: Mapping[str, int], *, provider: str | None = None) -> None:
        """Add to, or take from, what is used of the classes named. Raises KeyError as above."""

    def set_cells_used(self, host_id: str, taken: Sequence[Mapping[str, Any]]) -> None:
        """Say all that is taken of the NUMA cells, as in a claim's ``cells``. Raises KeyError, ValueError."""

    def set_group(self, group_id: str, members: Mapping[str, int]) -> None:
        """Say how many members of a server group are on each host. Raises KeyError for an unknown host."""

    def add_member(self, group_id: str, host_id: str, delta: int) -> None:
        """Add members of a server group on a host, or take them away. Raises KeyError."""

    def claim(self, claim: Mapping[str, Any]) -> None:
        """Take what a claim says, all or nothing. Raises NoRoom, or KeyError if a provider is gone."""

    def release(self, claim: Mapping[str, Any]) -> None:
        """Give back what a claim took. Raises KeyError if a provider is gone."""

    def place(
        self, request: Request | Mapping[str, Any], *, seed: int = 0, limit: int = 10, explain: bool | None = None
    ) -> Decision:
        """At most ``limit`` hosts that can take ``request``, the best first; claims nothing.

        ``explain``: say why the others don't do. By default only if no host does. Raises ValueError.
        """

    def place_many(
        self,
        orders: Sequence[tuple[Request | Mapping[str, Any], int]],
        *,
        seed: int = 0,
        all_or_nothing: bool = True,
        keep: bool = False,
    ) -> Batch:
        """Place each order's servers one after another against one consistent table.

        With ``keep`` what was placed stays taken in this table. Raises ValueError.
        """

    def drain(self, host_id: str, orders: Sequence[tuple[Request | Mapping[str, Any], int]], *, seed: int = 0) -> Batch:
        """Where a host's servers could go if it were out of service. The table stays as it is. Raises KeyError."""

    def how_many(self, request: Request | Mapping[str, Any], *, limit: int = 1_000_000) -> int:
        """How many servers like this fit in all, counted up to ``limit``. Raises ValueError."""

    def candidates(
        self, request: Request | Mapping[str, Any], *, seed: int = 0, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Every way the request fits, as claims, on hosts in order of preference: Placement's allocation candidates."""

    def snapshot(self) -> HostTable:
        """An independent copy, for "what if". Parts are shared until one side changes them."""

    def _panic(self, message: str) -> None:
        """Panic with the table held, as a defect would: for the tests of the seam. Raises Bug."""

    @property
    def memory_bytes(self) -> int:
        """What the table holds."""

@final
class Decision:
    """What :meth:`HostTable.place` found, or what became of one order."""

    @property
    def hosts(self) -> list[str]:
        """Host ids, the best first; of an order, the hosts of its servers in the order they were placed."""

    @property
    def rejected(self) -> list[tuple[str, int]]:
        """(first reason, number of hosts) of the hosts that can't take it, most hosts first."""

    @property
    def explanation(self) -> list[str]:
        """``rejected`` as sentences: ``3 hosts: not enough MEMORY_MB (asked 4096)``."""

    def claim(self, at: int = 0) -> dict[str, Any] | None:
        """What the server takes if it goes to ``hosts[at]``; None past the end.

        ``host``, ``allocations`` (provider -> class -> amount), ``mappings`` (group -> providers; the unnamed
        group is ``""``), ``cells`` (for each NUMA cell of the server: ``cell``, ``pinned`` and ``blocked`` CPUs,
        ``shared``, ``page_kb``, ``pages``), ``server_group``.
        """

@final
class Batch:
    """What became of orders."""

    @property
    def orders(self) -> list[Decision]:
        """One for each order."""

    @property
    def complete(self) -> bool:
        """Every server has a host."""

# ---- flow --------------------------------------------------------------------------------------------------------

_FlowInWords: TypeAlias = tuple[int, str, int, str, str, int]
"""Table number, table name, priority, match, actions, packets."""

@final
class FlowState:
    """The wished state of this host's network, and the flows that it compiles to."""

    def __new__(cls) -> FlowState: ...
    def put(self, noun: str, id: str, body: bytes) -> None:
        """Hold a wish (``network``, ``security_group``, ``port``, ``peer``, ``router``, ``floating_ip``) in the place of the one held before.

        Raises ValueError if the body is no such wish, keeping the one held before; KeyError for another noun.
        """

    def drop(self, noun: str, id: str) -> None:
        """Forget a wish, if it is held."""

    def bind(self, port_id: str, number: int | None) -> None:
        """Say by which OpenFlow port a port is plugged in, None for not. A number is its last owner's."""

    def set_uplinks(self, uplinks: Mapping[str, Any]) -> None:
        """Say which of the switch's ports aren't guests'.

        ``metadata`` (None, or ``port mac address tcp_port aliases``: the metadata server's port, the MAC and address of
        this host on it, and the prefix out of which guests get an alias), ``vxlan``, ``gre``, ``geneve`` (None or
        the tunnel port), ``physical`` (physical network -> patch port). Raises ValueError for a wrong field.
        """

    def restore_number(self, kind: str, id: str, number: int) -> None:
        """Give a number back that was in use before a restart. Before the first wish."""

    def take_changed_numbers(self) -> list[tuple[str, str, int]] | None:
        """All (kind, id, number) in use if they have changed since the last call: to be kept before flows are sent."""

    def commit(self) -> FlowDiff:
        """Compute what has changed and say how the flows differ from those of the last commit."""

    def plug_facts(self, port_id: str) -> tuple[str, str, int] | None:
        """Tap, MAC and MTU of a port, or None while it or its network isn't held."""

    def port_at(self, address: str) -> str | None:
        """The port whose metadata requests come from ``address``."""

    def words(self) -> list[_FlowInWords]:
        """The flows of the last commit in words, in the order in which packets meet them."""

    def describe(self, event: SwitchEvent) -> list[_FlowInWords]:
        """The flows of a ``dumped`` event in words."""

    def stats(self) -> dict[str, int]:
        """``flows`` held, and ``units_computed``, ``flows_computed``, ``commits`` so far."""

@final
class FlowDiff:
    """How the flows of one commit differ from those of the one before."""

    def counts(self) -> tuple[int, int, int]:
        """Flows added, changed and removed; zero once it has been sent."""

# ---- openflow ----------------------------------------------------------------------------------------------------

@final
class Switch:
    """The connection to a local Open vSwitch bridge: a thread that keeps itself connected, and flows and groups as synced.

    DHCP is answered by it. It connects at once and again after every loss; each time it reads the flows, once a
    sync has said what they should be, and mends what differs; groups likewise. Flows with another cookie are never
    touched, nor groups whose numbers don't begin with 0x6f73.
    """

    def __new__(cls, path: str, state: FlowState) -> Switch:
        """Talk to the bridge behind the socket ``path`` (``<rundir>/<bridge>.mgmt``), there yet or not."""

    def fileno(self) -> int:
        """Readable when :meth:`events` has something to give."""

    def sync(self, diff: FlowDiff) -> int:
        """Carry a difference out; answered by ``synced`` or ``away`` with this ticket. Each can be sent once."""

    def sync_groups(self, groups: Mapping[int, Mapping[str, Any]]) -> int:
        """Make the groups be exactly these, by number (0 to 65535, to which 0x6f730000 is added); answered like ``sync``.

        ``kind`` (all, select, indirect, failover) and ``buckets``, by number: ``output`` (OpenFlow port), and perhaps ``tunnel_ip``,
        ``weight`` (of select; 1) and ``watch_port``. Buckets are changed one by one where that is less. Raises ValueError for what
        is no group, or larger than a message (some 1,000 buckets).
        """

    def audit(self) -> int:
        """Compare the switch with what it should have and mend it; answered by ``audited`` or ``away``."""

    def dump(self) -> int:
        """Read flows and groups; answered by ``dumped`` or ``away``."""

    def events(self) -> list[SwitchEvent]:
        """What has happened since the last call."""

    def close(self) -> None:
        """End the connection; the switch keeps its flows. Closing twice is fine."""

@final
class SwitchEvent:
    """Something that a :class:`Switch` tells."""

    @property
    def kind(self) -> str:
        """connected, disconnected, synced, refilled, audited, dumped, away or port."""

    @property
    def ticket(self) -> int:
        """The command that it answers, 0 for none."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Flows and groups added, changed and removed, of ``synced`` and ``refilled``."""

    @property
    def lines(self) -> list[str]:
        """Flows refused (``synced``, ``refilled``), drift (``audited``), why (``disconnected``), name (``port``)."""

    @property
    def groups(self) -> list[tuple[int, str, list[tuple[int, str]]]]:
        """Groups of a ``dumped``: number, kind, and each bucket's number with its actions in words."""

# ---- netlink -----------------------------------------------------------------------------------------------------

_Fdb: TypeAlias = tuple[str, str, int | None, int | None]
"""MAC, where to, the network's number and the UDP port there if they aren't the device's own."""

@final
class Netlink:
    """The kernel's links, forwarding tables of VXLAN devices and neighbours, in the network namespace of the thread that made it.

    Each ``sync`` asks how things are and sends only what differs, in batches; one that is refused holds up no other. What the
    kernel has learned by itself is neither told nor touched. All of them release the interpreter. Raises OSError if the
    socket fails.
    """

    def __new__(cls) -> Netlink:
        """Open a socket. Raises OSError."""

    def links(self) -> dict[str, dict[str, Any]]:
        """Every link by name: ``index kind mtu mac master up``, of a veth ``peer``, of a vxlan ``vni local port learning``.

        ``kind`` is empty for hardware; ``mtu`` in bytes; ``master`` is the index of its bridge, 0 for none.
        """

    def sync_links(self, prefix: str, links: Sequence[Mapping[str, Any]]) -> NetlinkReport:
        """Make the links whose names begin with ``prefix`` be exactly these.

        ``name``, ``kind`` (``bridge``, ``veth`` with ``peer``, ``vxlan`` with ``vni``, ``port`` and perhaps ``local`` and
        ``learning``), and perhaps ``mtu`` (bytes), ``mac``, ``master`` (a name) and ``up`` (True). One of another kind is made
        anew. Raises ValueError for a name without the prefix, or what can't be read.
        """

    def fdb(self, device: str) -> list[_Fdb]:
        """Where a VXLAN device sends frames, as set. Raises KeyError if there is no such device."""

    def sync_fdb(self, device: str, entries: Sequence[_Fdb]) -> NetlinkReport:
        """Make it send exactly so; all zeros may have many destinations. Raises KeyError, ValueError for no address."""

    def neighbours(self, device: str) -> list[tuple[str, str]]:
        """(IP address, MAC) of the neighbours set on a device. Raises KeyError if there is no such device."""

    def sync_neighbours(self, device: str, entries: Sequence[tuple[str, str]]) -> NetlinkReport:
        """Make the neighbours set on a device be exactly these. Raises KeyError, ValueError for no address."""

@final
class NetlinkReport:
    """What a ``sync`` has done."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Objects added, changed and removed."""

    @property
    def refused(self) -> list[tuple[str, str, int]]:
        """What the kernel would not do, why, in words, and its error number."""

# ---- chunk -----------------------------------------------------------------------------------------------------

IMAGE_HEADER_BYTES: Final[int]
"""First bytes of an image that :func:`inspect_image` wants to see."""
CHUNK_BYTES_DEFAULT: Final[int]
"""4 MiB."""

@final
class Hasher:
    """Digests of one stream in one pass: md5, sha1, sha256, sha512, blake3, crc32c, crc64nvme."""

    def __new__(cls, *names: str) -> Hasher:
        """Begin a stream. Raises ValueError for an unknown name."""

    def update(self, data: Buffer) -> None:
        """Take the next bytes, any number of them; the interpreter is released for feeds of 8 KiB and more."""

    @property
    def length(self) -> int:
        """Bytes fed."""

    @property
    def algorithms(self) -> list[str]:
        """What was asked for, in that order."""

    def digest(self, name: str) -> bytes:
        """The digest so far; checksums are big-endian. Raises KeyError if it wasn't asked for."""

    def hexdigest(self, name: str) -> str:
        """The digest so far in lower-case hexadecimal. Raises KeyError if it wasn't asked for."""

    def digests(self) -> dict[str, str]:
        """Every digest so far, name -> hexadecimal. The stream may go on afterwards."""

    def state(self) -> bytes:
        """The half-fed state, at most 3 KiB, to be continued by :meth:`from_state` anywhere and later."""

    @staticmethod
    def from_state(state: Buffer) -> Hasher:
        """Continue from a state. Raises ValueError if it isn't one or is damaged."""

    def copy(self) -> Hasher:
        """An independent hasher that has seen the same bytes."""

@final
class DigestPool:
    """Where streams of different threads meet, so that their MD5s share the processor's vectors.

    Nothing waits for company: with one stream at a time it costs a lock. With many it is several times faster.
    """

    def __new__(cls) -> DigestPool:
        """A pool with as many places at work as there are processors."""

    def update(self, hasher: Hasher, data: Buffer) -> None:
        """What ``hasher.update(data)`` does. The interpreter is released. Raises Bug if another thread panicked."""

def update_together(feeds: Sequence[tuple[Hasher, Buffer]]) -> None:
    """Feed each hasher its data at once: with MD5 and three or more of them, faster than one after another.

    Raises ValueError if a hasher comes twice.
    """

@final
class Piece:
    """A run of fed bytes that belongs to one chunk."""

    @property
    def start(self) -> int:
        """Where the run begins in the buffer fed."""

    @property
    def end(self) -> int:
        """Where it ends there."""

    @property
    def index(self) -> int:
        """Which chunk of the stream, from 0."""

    @property
    def offset(self) -> int:
        """Where in the chunk the run begins."""

    @property
    def chunk_id(self) -> str | None:
        """The chunk's BLAKE3 name in hexadecimal if this run completes it."""

@final
class Chunker:
    """Cuts one stream into chunks of ``chunk_bytes`` named by BLAKE3, with ``digests`` of the whole, in one pass.

    It keeps no bytes: write ``data[piece.start:piece.end]`` to the chunk being written, and when ``chunk_id``
    isn't None, that chunk is complete and has its name.
    """

    def __new__(cls, chunk_bytes: int = ..., *, digests: Sequence[str] = ...) -> Chunker:
        """Begin a stream. Raises ValueError for an unknown digest or a chunk of no bytes."""

    @staticmethod
    def by_content(min_bytes: int, target_bytes: int, max_bytes: int, *, digests: Sequence[str] = ...) -> Chunker:
        """Cut by content instead, so that the same bytes make the same chunks wherever they come in a stream.

        Raises ValueError unless 64 <= min < target < max and target is at most 1 GiB.
        """

    def feed(self, data: Buffer) -> list[Piece]:
        """Take the next bytes; every one of them is in exactly one piece, in order."""

    def finish(self) -> tuple[str, int] | None:
        """End the stream: name and length of the last, shorter chunk, or None if no bytes wait."""

    @property
    def length(self) -> int:
        """Bytes fed."""

    def hexdigest(self, name: str) -> str:
        """A digest of the whole stream so far. Raises KeyError if it wasn't asked for."""

    def digests(self) -> dict[str, str]:
        """Every digest of the whole stream so far, name -> hexadecimal."""

class Corrupt(Exception):
    """A chunk's bytes aren't those it is named by."""

@final
class Verifier:
    """Checks a chunk as it is read, in pieces of any size."""

    def __new__(cls, chunk_id: str) -> Verifier:
        """Begin to read the chunk of this name. Raises ValueError if it is none."""

    def update(self, data: Buffer) -> None:
        """Take the next bytes."""

    def finish(self) -> None:
        """The chunk has been read to its end. Raises Corrupt if that wasn't it."""

def verify_chunk(data: Buffer, chunk_id: str) -> None:
    """Check a whole chunk. Raises Corrupt if it isn't the one of this name, ValueError if the name is none."""

def multipart_etag(md5s: Sequence[Buffer]) -> str:
    """The ETag of an S3 multipart object from its parts' MD5s (16 bytes each), without quotes: ``hex-parts``.

    Raises ValueError without parts, or for one of another length.
    """

def slo_etag(segments: Sequence[tuple[str, str | None]]) -> str:
    """The ETag of a Swift static large object from its segments' (ETag, range or None), without quotes."""

def composite_checksum(name: str, digests: Sequence[Buffer]) -> bytes:
    """S3's composite checksum: the digest of the parts' digests. Raises ValueError for an unknown name."""

def combined_checksum(name: str, parts: Sequence[tuple[Buffer, int]]) -> bytes:
    """The crc32c or crc64nvme of an object from those of its parts and their lengths. Raises ValueError."""

def inspect_image(header: Buffer) -> dict[str, Any]:
    """Say what the disk image that begins with ``header`` is; give it the first ``IMAGE_HEADER_BYTES``, or all.

    Returns ``format`` (raw, qcow2, qcow, qed, vmdk, vhd, vhdx, vdi, iso, luks, ploop), ``virtual_size_bytes``
    (None if the header doesn't say; a raw image's is its length), ``backing_file``, ``data_file``,
    ``encrypted``, ``also`` (other formats whose magic is there too), ``safe``, and ``dangers``: why it must not
    be opened, in words.
    """
