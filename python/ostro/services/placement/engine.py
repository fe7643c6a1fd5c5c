"""The engine: this process's picture of all providers, in memory, with the Rust host table as its index.

It proposes; it decides nothing. A claim is a conditional update of the rows (``claims.py``), so a picture that lags costs another
attempt and never an over-commit. The picture is kept by deltas: whoever changes rows in a transaction also calls a ``note_*``
method, which takes effect after the commit. A change that came without a note (another process, another service) rings
``TOPIC``, and the next ``fresh()`` reads the providers whose generation differs. Reading is bounded to a small part of the
time, however often it rings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any

import trio

from ostro._core import HostTable
from ostro.model.errors import Unavailable
from ostro.services.placement.names import SHARING
from ostro.store.database import Database, Tx
from ostro.store.hosts import list_host_ids
from ostro.store.inventories import Inventory, list_inventories
from ostro.store.providers import PROVIDER_AGGREGATES, PROVIDER_TRAITS, PROVIDERS, Provider, list_generations

TOPIC = "placement"
"""Rung by every transaction that changes providers, inventories or allocations."""
REFRESH_SHARE = 0.05
"""At most this part of the time goes into reading the picture again."""
PUT_AT_ONCE = 100
"""Providers taken into the picture without a pause: a millisecond or two."""
PLANTED_AT_ONCE = 100
"""Trees told to the host table without a pause: some milliseconds."""
DEFAULT_ZONE = "nova"
PROPOSALS_MOST = 8


@dataclass(frozen=True, slots=True)
class View:
    """One provider as it was last read. ``used`` is kept current in place."""

    provider: Provider
    is_host: bool
    inventories: Mapping[str, Inventory]
    traits: Sequence[str]
    aggregates: Sequence[str]
    used: Counter[str]


@dataclass(frozen=True, slots=True)
class HostRequest:
    """What a server needs of its host."""

    resources: Mapping[str, int]
    required: Sequence[str] = ()
    only_hosts: Sequence[str] | None = None
    not_hosts: Sequence[str] = ()
    zone: str = DEFAULT_ZONE


@dataclass(frozen=True, slots=True)
class Proposal:
    """Hosts that should have room, the best first, and why the others don't."""

    hosts: Sequence[str]
    explanation: Sequence[str]


class PlacementEngine:
    """One per process."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._table = HostTable()
        self._forest = HostTable()
        self._stale: set[str] = set()
        self._trees: dict[str, set[str]] = {}
        self._views: dict[str, View] = {}
        self._knotty: set[str] = set()
        self._loaded = False
        self._dirty = False
        self._noted = False
        self._changes = 0
        self._not_before_s = 0.0
        self._lock = trio.Lock()
        db.doorbell.subscribe(TOPIC, self._rung)

    def _rung(self) -> None:
        """A commit changed placement's rows; if a note told us what, there is nothing to read."""
        if self._noted:
            self._noted = False
        else:
            self._dirty = True

    # ---- reading -----------------------------------------------------------------------------------------------

    async def fresh(self) -> None:
        """Read what has changed behind our back. Returns at once when nothing has; cheap enough to call for every request."""
        if self._loaded and (not self._dirty or trio.current_time() < self._not_before_s):
            return
        async with self._lock:
            if self._loaded and not self._dirty:
                return
            started_s = trio.current_time()
            changes, self._dirty = self._changes, False
            known = {id_: view.provider.generation for id_, view in self._views.items()}
            gone, views = await self._db.read(_read_changed, known)
            for provider_id in gone:
                self._drop(provider_id)
            for number, view in enumerate(views, 1):
                self._put(view)
                if number % PUT_AT_ONCE == 0:
                    await trio.lowlevel.checkpoint()
            # A note that came while we read may have been overwritten by what we read.
            self._dirty = self._dirty or changes != self._changes
            self._loaded = True
            now_s = trio.current_time()
            self._not_before_s = now_s + (now_s - started_s) / REFRESH_SHARE

    async def warm(self) -> None:
        """Read the picture before anybody asks for it. If that can't be, whoever asks is told."""
        with suppress(Unavailable):
            await self.fresh()

    def _put(self, view: View) -> None:
        id_ = view.provider.id
        self._uproot(id_)
        self._views[id_] = view
        self._trees.setdefault(view.provider.root_id, set()).add(id_)
        self._wither(view.provider.root_id)
        if view.provider.parent_id or SHARING in view.traits:
            self._knotty.add(id_)
        else:
            self._knotty.discard(id_)
        self._table.set_host(id_, _spec(view))
        self._table.set_used(id_, dict(view.used))

    def _drop(self, provider_id: str) -> None:
        self._uproot(provider_id)
        self._views.pop(provider_id, None)
        self._knotty.discard(provider_id)
        self._table.remove_host(provider_id)

    def _uproot(self, provider_id: str) -> None:
        """Take a provider out of the tree that it is in."""
        view = self._views.get(provider_id)
        if view is None:
            return
        root_id = view.provider.root_id
        self._wither(root_id)
        tree = self._trees[root_id]
        tree.discard(provider_id)
        if not tree:
            del self._trees[root_id]

    def _wither(self, root_id: str) -> None:
        """A tree has changed: the table of trees forgets it until it is planted again."""
        self._stale.add(root_id)
        self._forest.remove_host(root_id)

    def _plant(self, most: int | None = None) -> None:
        """Bring the table of trees up to date, at most so many: it holds a tree as one host, and only those that changed are told anew."""
        for root_id in list(islice(self._stale, most)):
            self._stale.discard(root_id)
            tree = self.tree(root_id)
            if not tree or tree[0].provider.id != root_id:
                continue  # nothing is left of it, or its root is yet to be read
            nested = [{"id": v.provider.id, "parent": v.provider.parent_id, **_has(v)} for v in tree[1:]]
            self._forest.set_host(root_id, {**_has(tree[0]), "providers": nested})
            for view in tree:
                self._forest.set_used(root_id, dict(view.used), provider=_within(view))

    async def planted(self) -> None:
        """Prepare for ``candidates`` where many trees are new to it, a part at a time, so that others have their turn."""
        while not self.is_flat and len(self._stale) > PLANTED_AT_ONCE:
            self._plant(PLANTED_AT_ONCE)
            await trio.lowlevel.checkpoint()

    def tree(self, root_id: str) -> list[View]:
        """The providers of a tree that have been read, each after its parent."""
        left = [self._views[id_] for id_ in sorted(self._trees.get(root_id, ()))]
        placed: list[View] = []
        known: set[str | None] = {None, ""}
        while ready := [view for view in left if view.provider.parent_id in known]:
            placed += ready
            known.update(view.provider.id for view in ready)
            left = [view for view in left if view.provider.id not in known]
        return placed

    def candidates(self, request: Mapping[str, Any], *, seed: int, limit: int) -> list[dict[str, Any]]:
        """Every way in which trees satisfy a request in the host table's own terms, as claims. Only from the trio thread."""
        self._plant()
        return self._forest.candidates(request, seed=seed, limit=limit)

    def views(self) -> Mapping[str, View]:
        """Every provider by id. Read only, and only from the trio thread."""
        return self._views

    @property
    def is_flat(self) -> bool:
        """Whether no provider has a parent and none shares its inventory: then one provider must satisfy all of a request."""
        return not self._knotty

    def propose(self, request: HostRequest, seed: int) -> Proposal:
        """Hosts for a server. May be called from any thread."""
        decision = self._table.place(_asked(request), seed=seed, limit=PROPOSALS_MOST)
        return Proposal(decision.hosts, decision.explanation)

    def explain(self, request: HostRequest) -> list[str]:
        """Why no host takes the server, for whoever has found that none does. May be called from any thread.

        A host that would still do by this picture has lost its room to somebody who was quicker.
        """
        decision = self._table.place(_asked(request), limit=1, explain=True)
        lost = len(self._table) - sum(count for _, count in decision.rejected)
        taken = [f"{lost} host{'' if lost == 1 else 's'}: taken by others a moment ago"] if lost > 0 else []
        return [*decision.explanation, *taken]

    def place(self, request: Mapping[str, Any], *, seed: int, limit: int) -> list[str]:
        """Providers for a request in the host table's own terms."""
        return self._table.place(request, seed=seed, limit=limit).hosts

    # ---- notes -------------------------------------------------------------------------------------------------

    def note_used(self, tx: Tx, provider_id: str, amounts: Mapping[str, int], *, given_back: bool = False) -> None:
        """The transaction takes (or gives back) these amounts."""
        delta = {name: -amount for name, amount in amounts.items()} if given_back else dict(amounts)
        tx.after_commit(lambda: self._apply_used(provider_id, delta))
        tx.ring(TOPIC)

    def _apply_used(self, provider_id: str, delta: dict[str, int]) -> None:
        self._hit()
        view = self._views.get(provider_id)
        if view is not None:
            view.used.update(delta)
            self._table.add_used(provider_id, delta)
            if view.provider.root_id not in self._stale:
                self._forest.add_used(view.provider.root_id, delta, provider=_within(view))

    def note_provider(self, tx: Tx, provider_id: str) -> None:
        """The transaction has changed this provider (made, removed, inventories, traits, aggregates); call it last."""
        views = _read_views(tx, [provider_id])
        tx.after_commit(lambda: self._apply_provider(provider_id, views))
        tx.ring(TOPIC)

    def _apply_provider(self, provider_id: str, views: Sequence[View]) -> None:
        self._hit()
        if not views:
            self._drop(provider_id)
        for view in views:
            self._put(view)

    def _hit(self) -> None:
        self._changes += 1
        self._noted = True


def _asked(request: HostRequest) -> dict[str, Any]:
    """A request in the host table's terms."""
    asked: dict[str, Any] = {
        "resources": dict(request.resources),
        "required": list(request.required),
        "not_hosts": list(request.not_hosts),
        "az": request.zone,
    }
    if request.only_hosts is not None:
        asked["only_hosts"] = list(request.only_hosts)
    return asked


def _within(view: View) -> str | None:
    """How the table of trees names a provider beside its root's id: the root is None."""
    return view.provider.id if view.provider.parent_id else None


def _spec(view: View) -> dict[str, Any]:
    """A view in the host table's terms. Only hosts have a zone, so only they are proposed for servers."""
    return {**_has(view), "az": DEFAULT_ZONE if view.is_host else None}


def _has(view: View) -> dict[str, Any]:
    """What a provider has of its own."""
    return {
        "inventories": {
            name: {
                "total": inventory.total,
                "reserved": inventory.reserved,
                "min_unit": inventory.min_unit,
                "max_unit": inventory.max_unit,
                "step_size": inventory.step_size,
                "allocation_ratio": inventory.allocation_ratio,
            }
            for name, inventory in view.inventories.items()
        },
        "traits": list(view.traits),
        "aggregates": list(view.aggregates),
    }


def _read_changed(tx: Tx, known: Mapping[str, int]) -> tuple[set[str], list[View]]:
    """(providers that are gone, providers at another generation than known)."""
    found = list_generations(tx)
    changed = [id_ for id_, generation in found.items() if known.get(id_) != generation]
    everything = len(changed) == len(found)
    return known.keys() - found.keys(), _read_views(tx, None if everything else changed)


CHUNK = 500
"""Parameters of one statement: SQLite takes 32,766, and plans of thousands of them are slow to prepare."""


def _read_views(tx: Tx, provider_ids: Collection[str] | None) -> list[View]:
    """These providers, or (None) all."""
    if provider_ids is not None and len(provider_ids) > CHUNK:
        ids = list(provider_ids)
        return [v for i in range(0, len(ids), CHUNK) for v in _read_views(tx, ids[i : i + CHUNK])]
    conditions: dict[str, Any] = {} if provider_ids is None else {"id": list(provider_ids)}
    providers = PROVIDERS.list(tx, **conditions)
    hosts = list_host_ids(tx, provider_ids)
    inventories = list_inventories(tx, provider_ids)
    traits = PROVIDER_TRAITS.of_many(tx, provider_ids)
    aggregates = PROVIDER_AGGREGATES.of_many(tx, provider_ids)
    return [
        View(
            provider=provider,
            is_host=provider.id in hosts,
            inventories={i.resource_class: i for i in inventories.get(provider.id, ())},
            traits=traits.get(provider.id, []),
            aggregates=aggregates.get(provider.id, []),
            used=Counter({i.resource_class: i.used for i in inventories.get(provider.id, ())}),
        )
        for provider in providers
    ]
