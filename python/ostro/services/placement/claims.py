"""Claims: a server takes its part of a host, in the transaction that makes the server.

The engine's proposals are tried in order, each by one conditional update of the rows; the first that still fits is it. If none does,
the rows themselves are asked, because the picture may lag. Hosts that are silent come last: they are taken only
when nobody else has room, and the server then starts when its host is back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ostro.model.errors import NoCapacity
from ostro.services.placement.engine import PROPOSALS_MOST, TOPIC, HostRequest, PlacementEngine
from ostro.store.allocations import (
    ALLOCATIONS,
    CONSUMERS,
    Consumer,
    change_allocations,
    insert_allocations,
    list_by_provider,
)
from ostro.store.database import Tx
from ostro.store.hosts import list_alive
from ostro.store.inventories import give, list_fitting_hosts, take
from ostro.store.providers import raise_provider_generation, raise_provider_generations

SILENT_US = 30_000_000


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a claim is for: the server or volume, whose it is, and Placement's type of it."""

    consumer_id: str
    project_id: str
    user_id: str
    type: str = "INSTANCE"


def claim_host(tx: Tx, engine: PlacementEngine, request: HostRequest, owner: Owner, *, seed: int, now_us: int) -> str:
    """Take ``request.resources`` of one host for the owner; the host's id. Raises NoCapacity with the reasons."""
    proposal = engine.propose(request, seed)
    for host_id in _by_life(tx, proposal.hosts, now_us):
        if _take(tx, engine, host_id, request, owner, now_us):
            return host_id
    for host_id in _by_life(tx, _fitting(tx, request), now_us):
        if host_id not in proposal.hosts and _take(tx, engine, host_id, request, owner, now_us):
            return host_id
    reasons = "; ".join(proposal.explanation or engine.explain(request)) or "there are no hosts"
    raise NoCapacity(f"No valid host was found. {reasons[0].upper()}{reasons[1:]}.")


def _take(tx: Tx, engine: PlacementEngine, host_id: str, request: HostRequest, owner: Owner, now_us: int) -> bool:
    if not take(tx, host_id, request.resources):
        return False
    raise_provider_generations(tx, [host_id], now_us)
    CONSUMERS.insert(tx, Consumer(owner.consumer_id, 1, owner.project_id, owner.user_id, owner.type, now_us, now_us))
    insert_allocations(tx, owner.consumer_id, host_id, request.resources)
    engine.note_used(tx, host_id, request.resources)
    return True


def _by_life(tx: Tx, host_ids: Sequence[str], now_us: int) -> list[str]:
    """The same hosts, silent ones last."""
    if len(host_ids) < 2:
        return list(host_ids)
    alive = list_alive(tx, host_ids, now_us - SILENT_US)
    return sorted(host_ids, key=lambda id_: id_ not in alive)


def _fitting(tx: Tx, request: HostRequest) -> list[str]:
    """Hosts with room by the rows; the same conditions as the engine's."""
    return list_fitting_hosts(
        tx,
        request.resources,
        required=request.required,
        only_hosts=request.only_hosts,
        not_hosts=request.not_hosts,
        limit=PROPOSALS_MOST,
    )


def grow_claim(
    tx: Tx, engine: PlacementEngine, consumer_id: str, provider_id: str, more: Mapping[str, int], now_us: int
) -> bool:
    """Take more of what the consumer has already on a host, if it fits there; whether it did."""
    if not take(tx, provider_id, more):
        return False
    raise_provider_generation(tx, provider_id, now_us)
    change_allocations(tx, consumer_id, provider_id, more)
    engine.note_used(tx, provider_id, more)
    return True


def shrink_claim(tx: Tx, consumer_id: str, provider_id: str, less: Mapping[str, int], now_us: int) -> None:
    """Give back a part of what the consumer has on a host; some of it must be left."""
    give(tx, provider_id, less)
    raise_provider_generation(tx, provider_id, now_us)
    change_allocations(tx, consumer_id, provider_id, {name: -amount for name, amount in less.items()})
    tx.ring(TOPIC)


def release_claim(tx: Tx, consumer_id: str, now_us: int, engine: PlacementEngine | None = None) -> None:
    """Give back everything that the consumer has, wherever it is. Nothing to give back is fine."""
    held = list_by_provider(tx, consumer_id)
    for provider_id, amounts in held.items():
        give(tx, provider_id, amounts)
        if engine is not None:
            engine.note_used(tx, provider_id, amounts, given_back=True)
    raise_provider_generations(tx, list(held), now_us)
    CONSUMERS.delete(tx, consumer_id)
    tx.ring(TOPIC)


def hand_over_claim(tx: Tx, consumer_id: str, owner: Owner, now_us: int) -> None:
    """Everything that the consumer has becomes the owner's, who is new. Amounts stay as they are."""
    if CONSUMERS.find(tx, id=consumer_id) is None:
        return
    CONSUMERS.insert(tx, Consumer(owner.consumer_id, 1, owner.project_id, owner.user_id, owner.type, now_us, now_us))
    ALLOCATIONS.update_where(tx, {"consumer_id": owner.consumer_id}, consumer_id=consumer_id)
    CONSUMERS.delete(tx, consumer_id)
    raise_provider_generations(tx, list(list_by_provider(tx, owner.consumer_id)), now_us)
    tx.ring(TOPIC)


def swap_claims(tx: Tx, one_id: str, other_id: str, now_us: int) -> None:
    """Two consumers exchange what they have. Amounts stay as they are."""
    mine, theirs = list_by_provider(tx, one_id), list_by_provider(tx, other_id)
    for consumer_id in (one_id, other_id):
        ALLOCATIONS.delete_where(tx, consumer_id=consumer_id)
    for consumer_id, held in ((one_id, theirs), (other_id, mine)):
        for provider_id, amounts in held.items():
            insert_allocations(tx, consumer_id, provider_id, amounts)
    raise_provider_generations(tx, sorted({*mine, *theirs}), now_us)
    tx.ring(TOPIC)
