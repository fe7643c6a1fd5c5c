"""Wishes: what hosts are wished to do is what the rows say, as if it were all computed afresh."""

from __future__ import annotations

import msgspec

from ostro.model.wishes import Noun
from ostro.services.compute.servers import ABANDON, put_wish
from ostro.services.network.wishes import NETWORK_NOUNS, compute_wishes
from ostro.store.database import Tx
from ostro.store.hosts import list_host_ids
from ostro.store.sagas import SAGAS
from ostro.store.servers import SERVERS
from ostro.store.wishes import find_generation, list_wished


def check_wishes(tx: Tx, now_us: int) -> list[str]:
    """The wishes of the network nouns, of every host. See `ostro.testing.checkers`."""
    return [complaint for host_id in sorted(list_host_ids(tx)) for complaint in _check_host(tx, host_id)]


def _check_host(tx: Tx, host_id: str) -> list[str]:
    wanted = {key: msgspec.json.encode(wish) for key, wish in compute_wishes(tx, host_id).items()}
    found = {(w.noun, w.id): bytes(w.body) for w in list_wished(tx, host_id, NETWORK_NOUNS) if w.body is not None}
    return [
        f"host {host_id} is wished {noun} {id_} as {found.get((noun, id_), b'absent')!r}"
        f" and should be as {wanted.get((noun, id_), b'absent')!r}"
        for noun, id_ in sorted({*wanted, *found})
        if wanted.get((noun, id_)) != found.get((noun, id_))
    ]


def check_server_wishes(tx: Tx, now_us: int) -> list[str]:
    """The wish for every server that has a host and is to stay there. Writes what it finds wrong, so the transaction must be rolled back,
    as `Database.read` does."""
    abandoned = {saga.object_id for saga in SAGAS.list(tx, kind=ABANDON)}
    complaints: list[str] = []
    for server in SERVERS.list(tx, deleted_at_us=0, order="id"):
        if not server.host_id or server.deleting or server.id in abandoned:
            continue
        before = find_generation(tx, server.host_id, Noun.SERVER, server.id)
        put_wish(tx, server)
        if find_generation(tx, server.host_id, Noun.SERVER, server.id) != before:
            complaints.append(f"the wish for server {server.id} is not what its row says")
    return complaints
