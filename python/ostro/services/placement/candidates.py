"""Allocation candidates: where a request could be satisfied, from the engine's picture, without touching the database.

A request has one unnamed group of resources, which may come from several providers of one tree, and named groups, each of which must come from
one provider. The Rust host table answers: when no provider has a parent and none shares its inventory, and there is no named
group, the one in which each provider is a host; otherwise the one in which each tree is.

Source: the Placement API reference, "Allocation candidates", and its description of granular requests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ostro.services.placement.engine import PlacementEngine, View
from ostro.store.providers import Words

CANDIDATES_MOST = 20_000
"""Candidates found for one request that doesn't say how many."""
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


def find_candidates(engine: PlacementEngine, query: CandidateQuery, seed: int) -> tuple[list[Candidate], list[View]]:
    """Candidates, and every provider of the trees that they are in."""
    views = engine.views()
    if engine.is_flat and set(query.groups) == {UNNAMED} and query.groups[UNNAMED].resources:
        candidates = _by_table(engine, query, seed)
        providers = dict.fromkeys(id_ for candidate in candidates for id_ in candidate.amounts)
        return candidates, [views[id_] for id_ in providers]
    candidates = _by_trees(engine, query, seed)
    roots = dict.fromkeys(views[id_].provider.root_id for candidate in candidates for id_ in candidate.amounts)
    return candidates, [view for root_id in roots for view in engine.tree(root_id)]


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


# ---- trees, shared providers, named groups ---------------------------------------------------------------------------


def _asked(group: Group) -> dict[str, object]:
    """A group in the host table's own terms."""
    asked: dict[str, object] = {
        "resources": dict(group.resources),
        "required": [_expression(words) for words in group.required],
        "member_of": [_expression(words) for words in group.member_of],
    }
    return {**asked, "in_tree": group.in_tree} if group.in_tree else asked


def _by_trees(engine: PlacementEngine, query: CandidateQuery, seed: int) -> list[Candidate]:
    request: dict[str, object] = {
        **_asked(query.groups.get(UNNAMED, Group())),
        "groups": {name: _asked(group) for name, group in query.groups.items() if name != UNNAMED},
        "group_policy": "isolate" if query.isolate else "none",
        "root_required": [_expression(words) for words in query.root_required],
        "same_subtree": [list(names) for names in query.same_subtree],
    }
    views = engine.views()
    wanted = CANDIDATES_MOST if query.limit is None else query.limit
    asked_for = wanted
    while True:
        claims = engine.candidates(request, seed=seed, limit=asked_for)
        found: dict[object, Candidate] = {}
        for claim in claims:
            candidate = Candidate(claim["allocations"], claim["mappings"])
            if query.nested or not any(views[id_].provider.parent_id for id_ in candidate.amounts):
                # What a shared provider gives alone is found with its own tree and with each that it shares with.
                found.setdefault(_key(candidate), candidate)
        if len(found) >= wanted or len(claims) < asked_for or asked_for >= CANDIDATES_MOST:
            return list(found.values())[:wanted]
        asked_for = min(asked_for * 8, CANDIDATES_MOST)


def _key(candidate: Candidate) -> object:
    """Equal for candidates that are the same."""
    amounts = frozenset((id_, frozenset(classes.items())) for id_, classes in candidate.amounts.items())
    return amounts, frozenset((name, tuple(ids)) for name, ids in candidate.mappings.items())
