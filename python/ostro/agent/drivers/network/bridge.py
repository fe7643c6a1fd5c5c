"""What the Open vSwitch database has to say about our bridge: a pure plan from what it says now, and the replica it is read from.

Everything that is ours carries a tag in ``external_ids`` (``ostro``: a name made of the state directory), so that two Ostros on one
Open vSwitch don't meddle with each other. If the database says all that it has to, the plan is empty and nothing is touched.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import msgspec

from ostro.agent.drivers.network.ovsdb import (
    Changes,
    Operation,
    Ovsdb,
    Row,
    Value,
    encode_map,
    encode_set,
    members,
    named_ref,
    uuid_ref,
    where_uuid,
)
from ostro.model.errors import Bug, Conflict

WATCH = {
    "Open_vSwitch": ["bridges", "ovs_version", "iface_types", "datapath_types", "cur_cfg"],
    "Bridge": ["name", "ports", "datapath_type", "fail_mode", "protocols", "external_ids", "other_config"],
    "Port": ["name", "interfaces", "external_ids"],
    "Interface": ["name", "type", "ofport", "error", "options", "external_ids", "mac"],
}
TAG = "ostro"
PORT_ID = "iface-id"
NUMBER = "ostro-number:"
PROTOCOL = "OpenFlow15"
TUNNELS = ("vxlan", "gre", "geneve")
PHYSICAL = "physical"
PATCH = "patch"
OFPORT_MOST = 0xFEFF


class BridgeNames(msgspec.Struct, frozen=True):
    """The names of a bridge, of its metadata port, of its tunnel ports and of patches, at most 15 bytes each, and the tag of all."""

    tag: str
    bridge: str
    metadata: str
    tunnels: Mapping[str, str]

    @property
    def metadata_mac(self) -> str:
        """The MAC of this host on the metadata port: always the same, because flows name it."""
        return ":".join(["02", "6f", *(self.tag[at : at + 2] for at in (0, 2, 4)), "01"])

    def patch(self, physical_network: str) -> tuple[str, str]:
        """The ends of the patch to the bridge of a physical network: on our bridge, and on that one."""
        digest = hashlib.blake2s(physical_network.encode(), digest_size=1).hexdigest()
        return f"ostro-{self.tag}{digest}", f"{digest}{self.tag}-ostro"

    @staticmethod
    def of(state_dir: Path) -> BridgeNames:
        """Names that no other state directory on this machine has (24 bits of a digest)."""
        tag = hashlib.blake2s(str(state_dir.resolve()).encode(), digest_size=3).hexdigest()
        letters = {"vxlan": "v", "gre": "g", "geneve": "n"}
        return BridgeNames(
            tag=tag,
            bridge=f"ostro-{tag}",
            metadata=f"ostro-{tag}m",
            tunnels={kind: f"ostro-{tag}{letters[kind]}" for kind in TUNNELS},
        )


class BridgeWish(msgspec.Struct, frozen=True):
    """How the bridge should be. ``datapath_type`` is ``system`` (kernel) or ``netdev`` (userspace).

    ``local_ip`` is where tunnels come from. ``tunnels`` are the kinds that this Open vSwitch can do. ``physical`` says for each
    physical network which link device leads to it, or which bridge of the same Open vSwitch.
    """

    names: BridgeNames
    datapath_type: str
    local_ip: str
    tunnels: list[str]
    physical: Mapping[str, str] = MappingProxyType({})

    def physical_port(self, replica: Ovsdb, physical_network: str) -> str:
        """The name of our port to a physical network."""
        device = self.physical[physical_network]
        is_bridge = replica.find("Bridge", name=device) is not None
        return self.names.patch(physical_network)[0] if is_bridge else device


def plan(replica: Ovsdb, wish: BridgeWish) -> list[Operation]:
    """The transaction that makes the bridge and its own ports as wished; empty if they are.

    Raises:
        Conflict: a bridge of that name belongs to someone else.
    """
    names = wish.names
    steps: list[Operation] = []
    found = replica.find("Bridge", name=names.bridge)
    columns: Row = {"datapath_type": wish.datapath_type, "fail_mode": "secure", "protocols": PROTOCOL}
    ports = _own_ports(replica, wish)
    steps.extend(_patch_ends(replica, wish))
    if found is None:
        inserted = _insert_ports(steps, ports)
        row = {**columns, "name": names.bridge, "external_ids": encode_map({TAG: names.tag})}
        row["ports"] = encode_set([named_ref(name) for name in inserted])
        steps.append({"op": "insert", "table": "Bridge", "uuid-name": "bridge", "row": row})
        steps.append(_mutate("Open_vSwitch", [], "bridges", "insert", [named_ref("bridge")]))
        return steps
    uuid, bridge = found
    if _external_id(bridge, TAG) != names.tag:
        raise Conflict(f"The bridge {names.bridge} of this Open vSwitch is not Ostro's.")
    missing = [port for port in ports if not _is_there(replica, port)]
    wrong = [port.name for port in missing if replica.find("Port", name=port.name) is not None]
    wrong += sorted(_physical_ports(replica, names) - {port.name for port in ports})
    if wrong:
        gone = [uuid_ref(found[0]) for name in wrong if (found := replica.find("Port", name=name))]
        steps.append(_mutate("Bridge", where_uuid(uuid), "ports", "delete", gone))
    if missing:
        inserted = _insert_ports(steps, missing)
        refs = [named_ref(name) for name in inserted]
        steps.append(_mutate("Bridge", where_uuid(uuid), "ports", "insert", refs))
    different = {name: value for name, value in columns.items() if bridge.get(name) != value}
    if different:
        steps.append({"op": "update", "table": "Bridge", "where": where_uuid(uuid), "row": different})
    return steps


class _OwnPort(msgspec.Struct, frozen=True):
    """A port of the bridge that isn't a guest's. ``options`` and ``mac`` (empty for any) are those of its interface."""

    name: str
    type: str
    tag: str
    role: str
    options: dict[str, str] = {}
    mac: str = ""


def _own_ports(replica: Ovsdb, wish: BridgeWish) -> list[_OwnPort]:
    names = wish.names
    options = {"remote_ip": "flow", "key": "flow", "local_ip": wish.local_ip}
    tunnels = [_OwnPort(names.tunnels[kind], kind, names.tag, kind, options) for kind in wish.tunnels]
    physical = [_physical_port(replica, wish, physical_network) for physical_network in wish.physical]
    metadata = _OwnPort(names.metadata, "internal", names.tag, "metadata", mac=names.metadata_mac)
    return [metadata, *tunnels, *physical]


def _physical_port(replica: Ovsdb, wish: BridgeWish, physical_network: str) -> _OwnPort:
    """Our port to a physical network: its device, or the end of a patch."""
    name, (ours, theirs) = wish.physical_port(replica, physical_network), wish.names.patch(physical_network)
    if name != ours:
        return _OwnPort(name, "", wish.names.tag, PHYSICAL)
    return _OwnPort(ours, "patch", wish.names.tag, PHYSICAL, {"peer": theirs})


def _patch_ends(replica: Ovsdb, wish: BridgeWish) -> list[Operation]:
    """Puts the other ends of patches on the bridges of physical networks, where they are missing, and takes off those of others."""
    wanted = {wish.names.patch(physical_network)[1] for physical_network in wish.physical}
    steps = _drop_patch_ends(replica, wish.names, wanted)
    for index, (physical_network, device) in enumerate(wish.physical.items()):
        ours, theirs = wish.names.patch(physical_network)
        bridge = replica.find("Bridge", name=device)
        if bridge is None or replica.find("Interface", name=theirs) is not None:
            continue
        interface = {"name": theirs, "type": "patch", "options": encode_map({"peer": ours})}
        ref = insert_port(steps, theirs, interface, {TAG: wish.names.tag, "role": PATCH}, f"end{index}")
        steps.append(_mutate("Bridge", where_uuid(bridge[0]), "ports", "insert", [named_ref(ref)]))
    return steps


def _drop_patch_ends(replica: Ovsdb, names: BridgeNames, wanted: set[str]) -> list[Operation]:
    ours = ((uuid, row) for uuid, row in replica.tables["Port"].items() if _external_id(row, TAG) == names.tag)
    ends = [uuid for uuid, row in ours if _external_id(row, "role") == PATCH and str(row["name"]) not in wanted]
    return [_mutate("Bridge", [], "ports", "delete", [uuid_ref(uuid)]) for uuid in ends]


def _physical_ports(replica: Ovsdb, names: BridgeNames) -> set[str]:
    """The ports to physical networks that are there."""
    ours = (row for row in replica.tables["Port"].values() if _external_id(row, TAG) == names.tag)
    return {str(row["name"]) for row in ours if _external_id(row, "role") == PHYSICAL}


def _is_there(replica: Ovsdb, port: _OwnPort) -> bool:
    found = replica.find("Interface", name=port.name)
    if found is None:
        return False
    row = found[1]
    return row.get("type") == port.type and row.get("options") == port.options and _text(row.get("mac", [])) == port.mac


def _insert_ports(steps: list[Operation], ports: list[_OwnPort]) -> list[str]:
    """Appends the insertion of these ports; returns the names by which the transaction refers to them."""
    refs = []
    for index, port in enumerate(ports):
        interface: dict[str, object] = {"name": port.name, "type": port.type, "options": encode_map(port.options)}
        if port.mac:
            interface["mac"] = port.mac
        ids = {TAG: port.tag, "role": port.role}
        refs.append(insert_port(steps, port.name, interface, ids, f"own{index}"))
    return refs


def insert_port(
    steps: list[Operation], name: str, interface: Mapping[str, object], external_ids: Mapping[str, str], ref: str
) -> str:
    """Appends the insertion of a port with one interface; returns the name by which the transaction refers to it."""
    row = {**interface, "external_ids": encode_map(external_ids)}
    steps.append({"op": "insert", "table": "Interface", "uuid-name": f"{ref}i", "row": row})
    port = {"name": name, "interfaces": named_ref(f"{ref}i"), "external_ids": encode_map(external_ids)}
    steps.append({"op": "insert", "table": "Port", "uuid-name": f"{ref}p", "row": port})
    return f"{ref}p"


def _mutate(table: str, where: Sequence[object], column: str, how: str, values: Sequence[object]) -> Operation:
    return {"op": "mutate", "table": table, "where": where, "mutations": [[column, how, encode_set(values)]]}


def _external_id(row: Row, key: str) -> str:
    ids = row.get("external_ids")
    return str(ids.get(key, "")) if isinstance(ids, dict) else ""


class Guest(msgspec.Struct, frozen=True):
    """A guest's port as the database has it: number 0 if the switch hasn't given one, ``error`` if it couldn't."""

    port_uuid: str
    port_id: str
    tap: str
    number: int
    error: str


class Guests:
    """Every guest's port on our bridge, kept in step with the replica row by row."""

    def __init__(self, replica: Ovsdb, tag: str) -> None:
        self._replica = replica
        self._tag = tag
        self._by_uuid: dict[str, Guest] = {}
        self._by_id: dict[str, Guest] = {}
        self._port_of: dict[str, str] = {}
        self.take({"Port": set(replica.tables["Port"])})

    def __iter__(self) -> Iterator[Guest]:
        return iter(self._by_id.values())

    def find(self, port_id: str) -> Guest | None:
        """The port of this id, if it is on the bridge."""
        return self._by_id.get(port_id)

    def in_the_way(self, port_id: str, tap: str) -> list[Guest]:
        """The ports that have the name or the id that a port is to have, and aren't that port in working order."""
        present = [guest for guest in self if port_id == guest.port_id or tap == guest.tap]
        return [guest for guest in present if guest.port_id != port_id or guest.tap != tap or guest.error]

    def take(self, changes: Changes) -> dict[str, int]:
        """Look at these rows again. Returns the numbers (0 for none) of the ports that they are about, by id."""
        interfaces = changes.get("Interface", set())
        ports = changes.get("Port", set()) | {self._port_of[uuid] for uuid in interfaces if uuid in self._port_of}
        numbers: dict[str, int] = {}
        for uuid in ports:
            old = self._by_uuid.pop(uuid, None)
            if old is not None and self._by_id.get(old.port_id) is old:
                del self._by_id[old.port_id]
                numbers[old.port_id] = 0
        for uuid in ports:
            guest = self._read(uuid)
            if guest is not None:
                self._by_uuid[uuid] = self._by_id[guest.port_id] = guest
                numbers[guest.port_id] = guest.number
        for uuid in interfaces - self._replica.tables["Interface"].keys():
            self._port_of.pop(uuid, None)
        return numbers

    def _read(self, uuid: str) -> Guest | None:
        port = self._replica.tables["Port"].get(uuid)
        if port is None or _external_id(port, TAG) != self._tag or not _external_id(port, PORT_ID):
            return None
        interface = str(members(port["interfaces"])[0])
        self._port_of[interface] = uuid
        row = self._replica.tables["Interface"].get(interface, {})
        number, error = _number(row.get("ofport", [])), _text(row.get("error", []))
        return Guest(uuid, _external_id(port, PORT_ID), str(port["name"]), number, error)


def _number(value: Value) -> int:
    """An OpenFlow port number: 0 while there is none, or when it is -1, the sign of a failure."""
    return value if isinstance(value, int) and 0 < value <= OFPORT_MOST else 0


def _text(value: Value) -> str:
    return value if isinstance(value, str) else ""


def own_number(replica: Ovsdb, name: str) -> int:
    """The OpenFlow number of a port of our own, 0 if it has none."""
    found = replica.find("Interface", name=name)
    return _number(found[1].get("ofport", [])) if found else 0


def own_error(replica: Ovsdb, name: str) -> str:
    """Why a port of our own doesn't work, empty if it does."""
    found = replica.find("Interface", name=name)
    return _text(found[1].get("error", [])) if found else ""


def plug_steps(replica: Ovsdb, names: BridgeNames, port_id: str, tap: str, mac: str) -> list[Operation]:
    """The transaction that puts a tap on the bridge.

    Raises:
        Conflict: the bridge is gone.
    """
    steps: list[Operation] = []
    ids = {TAG: names.tag, PORT_ID: port_id, "attached-mac": mac}
    ref = insert_port(steps, tap, {"name": tap}, ids, "guest")
    where = where_uuid(bridge_uuid(replica, names))
    steps.append(_mutate("Bridge", where, "ports", "insert", [named_ref(ref)]))
    return steps


def unplug_steps(replica: Ovsdb, names: BridgeNames, leaving: list[Guest]) -> list[Operation]:
    """The transaction that takes guests' ports off the bridge; empty if there are none.

    Raises:
        Conflict: the bridge is gone.
    """
    if not leaving:
        return []
    where = where_uuid(bridge_uuid(replica, names))
    return [_mutate("Bridge", where, "ports", "delete", [uuid_ref(guest.port_uuid) for guest in leaving])]


def remove_steps(replica: Ovsdb, names: BridgeNames) -> list[Operation]:
    """The transaction that deletes the bridge with all its ports, and the other ends of its patches; empty if it isn't there."""
    found = replica.find("Bridge", name=names.bridge)
    if found is None or _external_id(found[1], TAG) != names.tag:
        return []
    steps = [_mutate("Open_vSwitch", [], "bridges", "delete", [uuid_ref(found[0])])]
    return steps + _drop_patch_ends(replica, names, set())


COUNT_CHANGE: list[Operation] = [
    {"op": "mutate", "table": "Open_vSwitch", "where": [], "mutations": [["next_cfg", "+=", 1]]},
    {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg"]},
]
"""Appended to a transaction, this numbers it; vswitchd writes the number back when it has carried it out."""


def change_number(results: list[object]) -> int:
    """The number that ``COUNT_CHANGE`` gave a transaction."""
    match results[-1]:
        case {"rows": [{"next_cfg": int() as number}]}:
            return number
    raise Bug("Open vSwitch did not number a change.", detail=repr(results))


def changes_done(replica: Ovsdb) -> int:
    """The number of the last change that vswitchd has carried out."""
    row = next(iter(replica.tables["Open_vSwitch"].values()), {})
    done = row.get("cur_cfg", 0)
    return done if isinstance(done, int) else 0


def bridge_uuid(replica: Ovsdb, names: BridgeNames) -> str:
    """The UUID of our bridge's row.

    Raises:
        Conflict: someone has deleted it.
    """
    found = replica.find("Bridge", name=names.bridge)
    if found is None:
        raise Conflict(f"The bridge {names.bridge} has been deleted from Open vSwitch.")
    return found[0]


def kept_numbers(replica: Ovsdb, names: BridgeNames) -> dict[tuple[str, str], int]:
    """The numbers of networks and groups that the bridge's row keeps, by (kind, id)."""
    found = replica.find("Bridge", name=names.bridge)
    ids = found[1].get("external_ids") if found else None
    kept = {}
    for key, value in (ids if isinstance(ids, dict) else {}).items():
        if key.startswith(NUMBER):
            kind, _, id_ = key.removeprefix(NUMBER).partition(":")
            kept[kind, id_] = int(str(value))
    return kept


def keep_numbers_steps(replica: Ovsdb, names: BridgeNames, wanted: Mapping[tuple[str, str], int]) -> list[Operation]:
    """The transaction that makes the bridge's row keep exactly these numbers; empty if it does."""
    kept = kept_numbers(replica, names)
    gone = [f"{NUMBER}{kind}:{id_}" for (kind, id_), number in kept.items() if wanted.get((kind, id_)) != number]
    new = {
        f"{NUMBER}{kind}:{id_}": str(number)
        for (kind, id_), number in wanted.items()
        if kept.get((kind, id_)) != number
    }
    mutations: list[object] = []
    if gone:
        mutations.append(["external_ids", "delete", encode_set(gone)])
    if new:
        mutations.append(["external_ids", "insert", encode_map(new)])
    if not mutations:
        return []
    where = where_uuid(bridge_uuid(replica, names))
    return [{"op": "mutate", "table": "Bridge", "where": where, "mutations": mutations}]
