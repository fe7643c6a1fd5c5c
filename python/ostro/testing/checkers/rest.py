"""Rest: nothing is under way any more. And the truth: what each host must then have."""

from __future__ import annotations

from dataclasses import dataclass, field

from ostro.model.servers import PowerState
from ostro.model.volumes import AttachmentStatus
from ostro.model.wishes import Noun
from ostro.store.attachments import ATTACHMENTS
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.servers import SERVERS
from ostro.store.volumes import VOLUMES
from ostro.store.wishes import list_wished

UNREST = {
    "question to a host": "SELECT id FROM asks ORDER BY id",
    "saga": "SELECT kind || ' of ' || object_id FROM sagas ORDER BY id",
    "wish not carried out": (
        "SELECT w.noun || ' ' || w.id || ' on ' || w.host_id || ': ' || coalesce(r.phase, 'no report') FROM wishes w LEFT JOIN reports r"
        " ON r.host_id = w.host_id AND r.noun = w.noun AND r.id = w.id"
        " WHERE w.body IS NULL OR r.generation IS NULL OR r.generation <> w.generation OR r.phase NOT IN ('ready', 'failed')"
        " ORDER BY w.host_id, w.noun, w.id"
    ),
    "server under way": (
        "SELECT id || ' ' || status || ' ' || task_state FROM servers WHERE deleted_at_us = 0"
        " AND (task_state <> '' OR status = 'BUILD') ORDER BY id"
    ),
    "volume under way": (
        "SELECT id || ' ' || status FROM volumes WHERE status NOT IN ('available', 'in-use', 'error', 'error_extending') ORDER BY id"
    ),
}


def find_unrest(tx: Tx) -> list[str]:
    """What is still under way, in words."""
    return [f"{what}: {row[0]}" for what, sql in UNREST.items() for row in tx.all(sql)]


@dataclass
class HostTruth:
    """What a host must have at rest: for each server whether it runs and its volumes, the ports plugged in, and the volumes kept."""

    servers: dict[str, tuple[bool, list[str]]] = field(default_factory=dict)
    ports: set[str] = field(default_factory=set)
    volumes: set[str] = field(default_factory=set)


def map_truth(tx: Tx) -> dict[str, HostTruth]:
    """By the host's name. A server in ERROR, which nobody promises anything about, is taken as it was last found."""
    names = {host.id: host.name for host in HOSTS.list(tx, order="id")}
    truth = {name: HostTruth() for name in names.values()}
    for server in SERVERS.list(tx, deleted_at_us=0, order="id"):
        if server.host_id:
            plugged = [a.volume_id for a in ATTACHMENTS.list(tx, server_id=server.id, status=AttachmentStatus.ATTACHED)]
            runs = server.power_state is PowerState.RUNNING
            truth[names[server.host_id]].servers[server.id] = (runs, sorted(plugged))
    for host_id, name in names.items():
        truth[name].ports = {w.id for w in list_wished(tx, host_id, (Noun.PORT,)) if w.body is not None}
    for volume in VOLUMES.list(tx, order="id"):
        if volume.host_id:
            truth[names[volume.host_id]].volumes.add(volume.id)
    return truth
