"""Allocation candidates: where a request could be satisfied, from the engine's picture, without touching the database.

A request has one unnamed group of resources, which may come from several providers of one tree, and named groups, each of which must come from
one provider. When no provider has a parent and none shares its inventory, and there is no named group, the Rust host
table answers. Otherwise every tree is searched here: options for each group, then combinations of options that respect
capacity, ``group_policy`` and ``same_subtree``. The search is bounded by ``COMBINATIONS_MOST``.

Source: the Placement API reference, "Allocation candidates", and its description of granular requests.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product

from ostro.services.placement.engine import PlacementEngine, View
from ostro.services.placement.names import SHARING
from ostro.store.inventories import Inventory
from ostro.store.providers import Words

COMBINATIONS_MOST = 20_000
"""Combinations looked at for one request."""
UNNAMED = ""


@dataclass(frozen=True, slots=True)
class Group:
    """One group of a request. ``in_tree`` is any provider of the tree that it must come from."""

    resources: Mapping[str, int] = field(default_factory=dict)
    required: Sequence[Words] = ()
    member_of: Sequence[Words] = ()
    in_tree: str = ""


@dataclass(frozen=True, slots=True)
class CandidateQuery:
    """The whole request; ``groups`` by suffix, the unnamed one's is empty."""

    groups: Mapping[str, Group]
    isolate: bool = False
    root_required: Sequence[Words] = ()
    same_subtree: Sequence[Sequence[str]] = ()
    limit: int | None = None
    nested: bool = True
    """Whether providers with a parent may be used."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One way to satisfy the request: amounts by provider and class, and the providers of each group."""

    amounts: Mapping[str, Mapping[str, int]]
    mappings: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class _Option:
    """One way to satisfy one group."""

    amounts: Mapping[str, Mapping[str, int]]
    providers: tuple[str, ...]


def find_candidates(engine: PlacementEngine, query: CandidateQuery, seed: int) -> tuple[list[Candidate], list[View]]:
    """Candidates, and every provider of the trees that they are in."""
    if engine.is_flat and set(query.groups) == {UNNAMED} and query.groups[UNNAMED].resources:
        candidates = _by_table(engine, query, seed)
    else:
        candidates = list(islice(_search(engine.views(), query), query.limit))
    views = engine.views()
    roots = {views[id_].provider.root_id for c in candidates for id_ in c.amounts}
    if engine.is_flat:
        return candidates, [views[id_] for id_ in dict.fromkeys(i for c in candidates for i in c.amounts)]
    return candidates, [view for view in views.values() if view.provider.root_id in roots]


# ---- one flat group ------------------------------------------------------------------------------------------------


def _expression(words: Words) -> str:
    """A condition in the host table's own terms."""
    text = words.any_of[0] if len(words.any_of) == 1 else "in:" + ",".join(words.any_of)
    return f"!{text}" if words.negated else text


def _by_table(engine: PlacementEngine, query: CandidateQuery, seed: int) -> list[Candidate]:
    group = query.groups[UNNAMED]
    request: dict[str, object] = {
        "resources": dict(group.resources),
        "required": [_expression(words) for words in (*group.required, *query.root_required)],
        "member_of": [_expression(words) for words in group.member_of],
    }
    if group.in_tree:
        request["only_hosts"] = [group.in_tree]
    limit = len(engine.views()) if query.limit is None else query.limit
    amounts = dict(group.resources)
    return [
        Candidate({id_: amounts}, {UNNAMED: [id_]})
        for id_ in engine.place(request, seed=seed, limit=max(limit, 1))[:limit]
    ]


# ---- the general search --------------------------------------------------------------------------------------------


def _search(views: Mapping[str, View], query: CandidateQuery) -> Iterator[Candidate]:
    """Candidates, tree by tree."""
    trees: dict[str, list[View]] = defaultdict(list)
    for view in views.values():
        trees[view.provider.root_id].append(view)
    sharing = [view for view in views.values() if SHARING in view.traits]
    seen: set[object] = set()
    left = COMBINATIONS_MOST
    for root_id, tree in trees.items():
        if not _meets(views[root_id].traits, query.root_required):
            continue
        options = [list(_options(views, tree, sharing, name, group)) for name, group in query.groups.items()]
        for combination in product(*options):
            left -= 1
            if left < 0:
                return
            candidate = _combine(views, query, combination)
            if candidate is None or not _belongs(views, candidate, root_id):
                continue
            key = frozenset((name, tuple(ids)) for name, ids in candidate.mappings.items())
            if key not in seen:
                seen.add(key)
                yield candidate


def _belongs(views: Mapping[str, View], candidate: Candidate, root_id: str) -> bool:
    """Whether the candidate uses this tree at all, and not only what others share with it."""
    return any(views[id_].provider.root_id == root_id for id_ in candidate.amounts)


def _options(
    views: Mapping[str, View], tree: Sequence[View], sharing: Sequence[View], name: str, group: Group
) -> Iterator[_Option]:
    """Every way to satisfy one group from a tree and what is shared with it."""
    aggregates = {aggregate for view in tree for aggregate in view.aggregates}
    own = {view.provider.id for view in tree}
    shared = [v for v in sharing if v.provider.id not in own and aggregates.intersection(v.aggregates)]
    usable = [view for view in (*tree, *shared) if _may_serve(views, view, group)]
    if name != UNNAMED:
        for view in usable:
            if _meets(view.traits, group.required) and all(_fits(view, c, n) for c, n in group.resources.items()):
                id_ = view.provider.id
                yield _Option({id_: dict(group.resources)} if group.resources else {}, (id_,))
        return
    by_class = [[v for v in usable if _fits(v, c, n)] for c, n in group.resources.items()]
    for chosen in islice(product(*by_class), COMBINATIONS_MOST):
        traits = {trait for view in chosen for trait in view.traits}
        if not _meets(traits, [words for words in group.required if not words.negated]):
            continue
        amounts: dict[str, dict[str, int]] = defaultdict(dict)
        for view, (resource_class, amount) in zip(chosen, group.resources.items(), strict=True):
            amounts[view.provider.id][resource_class] = amount
        yield _Option(dict(amounts), tuple(sorted(amounts)))


def _may_serve(views: Mapping[str, View], view: View, group: Group) -> bool:
    """Whether a provider is not ruled out for a group, whatever it has room for."""
    root_id = view.provider.root_id
    if group.in_tree:
        there = views.get(group.in_tree)
        if there is None or there.provider.root_id != root_id:
            return False
    if not _meets(view.traits, [words for words in group.required if words.negated]):
        return False
    aggregates = {*view.aggregates, *(views[root_id].aggregates if root_id in views else ())}
    return _meets(aggregates, group.member_of)


def _meets(has: Sequence[str] | set[str], conditions: Sequence[Words]) -> bool:
    return all(any(name in has for name in words.any_of) != words.negated for words in conditions)


def _fits(view: View, resource_class: str, amount: int) -> bool:
    inventory = view.inventories.get(resource_class)
    return inventory is not None and _allowed(inventory, amount) and _room(view, inventory) >= amount


def _allowed(inventory: Inventory, amount: int) -> bool:
    return inventory.min_unit <= amount <= inventory.max_unit and amount % inventory.step_size == 0


def _room(view: View, inventory: Inventory) -> int:
    return inventory.capacity - view.used[inventory.resource_class]


def _combine(views: Mapping[str, View], query: CandidateQuery, combination: Sequence[_Option]) -> Candidate | None:
    """One option of each group as a candidate, None when they don't go together."""
    named = dict(zip(query.groups, combination, strict=True))
    if query.isolate:
        used = [option.providers for name, option in named.items() if name != UNNAMED]
        if len(set(used)) < len(used):
            return None
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for option in combination:
        for id_, amounts in option.amounts.items():
            totals[id_].update(amounts)
    for id_, sums in totals.items():
        view = views[id_]
        if not query.nested and view.provider.parent_id:
            return None
        if any(_room(view, view.inventories[c]) < n or n > view.inventories[c].max_unit for c, n in sums.items()):
            return None
    for names in query.same_subtree:
        ids = {id_ for name in names if name in named for id_ in named[name].providers}
        if not any(all(_is_below(views, id_, top) for id_ in ids) for top in ids):
            return None
    mappings = {name: list(option.providers) for name, option in named.items()}
    return Candidate({id_: dict(sums) for id_, sums in totals.items()}, mappings)


def _is_below(views: Mapping[str, View], id_: str, top: str) -> bool:
    """Whether a provider is ``top`` or somewhere below it."""
    while id_ != top:
        id_ = views[id_].provider.parent_id if id_ in views else ""
        if not id_:
            return False
    return True
