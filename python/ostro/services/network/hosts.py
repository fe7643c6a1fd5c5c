"""What the network owes to a host that registers."""

from __future__ import annotations

import msgspec

from ostro.services.network.wishes import place_port, rewish_tunnel
from ostro.services.network.wishes import rewish_host as rewish_host
from ostro.store.database import Tx
from ostro.store.hosts import HOSTS
from ostro.store.networks import NETWORKS
from ostro.store.ports import PORTS


def meet_host(tx: Tx, host_id: str, old_tunnel_ip: str) -> None:
    """A host has registered: ports that were bound to its name before anybody knew it are wished on it now, and when its tunnel
    address is another than before, its peers learn of that. ``old_tunnel_ip`` is empty for a host that is new.
    """
    host = HOSTS.get(tx, host_id)
    if not old_tunnel_ip:
        for port in PORTS.list(tx, binding_host=host.name, host_id="", order="id"):
            PORTS.update(tx, port.id, host_id=host_id)
            place_port(tx, msgspec.structs.replace(port, host_id=host_id), NETWORKS.get(tx, port.network_id))
    elif old_tunnel_ip != host.tunnel_ip:
        rewish_tunnel(tx, host_id)
