"""Forgetting a host that has nothing left to do."""

from __future__ import annotations

from ostro.model.context import Context
from ostro.model.errors import Conflict
from ostro.model.wishes import Noun
from ostro.services.agents.hosts import is_fenced
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.providers import delete_provider
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS, HOSTS_TOPIC, host_topic
from ostro.store.images import FREE_TOPIC
from ostro.store.joining import revoke_certificates
from ostro.store.ports import PORTS
from ostro.store.providers import PROVIDERS
from ostro.store.servers import SERVERS
from ostro.store.snapshots import SNAPSHOTS
from ostro.store.volumes import VOLUMES
from ostro.store.wishes import list_wished

NAMED_MOST = 20


def remove_host(tx: Tx, context: Context, engine: PlacementEngine, host_id: str) -> None:
    """Forget the host, and refuse its certificates. Raises NotFound, Conflict that says what is on it."""
    host = HOSTS.get(tx, host_id)
    servers = SERVERS.list(tx, host_id=host_id, deleted_at_us=0, order="created_at_us, id", limit=NAMED_MOST)
    on_it = [("servers", [f"{server.name} ({server.id})" for server in servers])]
    for what, table in (("volumes", VOLUMES), ("snapshots", SNAPSHOTS), ("ports", PORTS)):
        on_it.append((what, [row.id for row in table.list(tx, host_id=host_id, order="id", limit=NAMED_MOST)]))
    found = "; ".join(f"{what} {', '.join(names)}" for what, names in on_it if names)
    if found:
        raise Conflict(f"Host {host.name} can't be removed while there is something on it: {found}.")
    lost = [wish.id for wish in list_wished(tx, host_id, [Noun.SERVER])]
    if lost and not is_fenced(tx, host, context.now_us):
        raise Conflict(f"Host {host.name} has yet to give up servers: {', '.join(lost[:NAMED_MOST])}.")
    if PROVIDERS.find(tx, id=host_id) is not None:
        delete_provider(tx, context, engine, host_id)
    HOSTS.delete(tx, host_id)
    revoke_certificates(tx, host.name)
    # What it held of images is gone with it.
    tx.ring(host_topic(host_id), HOSTS_TOPIC, FREE_TOPIC)
