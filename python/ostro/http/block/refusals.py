"""Backups, groups and messages: lists that are empty, and clear refusals."""

from __future__ import annotations

from ostro.http.block.service import BLOCK
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.schema import ANY_OBJECT, array, shape
from ostro.http.versions import Version
from ostro.model.errors import NotFound, Unsupported

NOUNS = (
    ("backups", "backup", None),
    ("groups", "group", Version(3, 13)),
    ("group_snapshots", "group_snapshot", Version(3, 14)),
    ("messages", "message", Version(3, 3)),
)


def _declare(plural: str, singular: str, low: Version | None) -> None:
    """The routes of a noun that can't be made yet."""

    async def list_nothing(req: Request) -> Reply:
        return Reply({plural: []})

    async def list_nothing_detailed(req: Request) -> Reply:
        return Reply({plural: []})

    async def refuse(req: Request) -> Reply:
        raise Unsupported(f"The storage does not support creating a {singular.replace('_', ' ')}.")

    async def find_nothing(req: Request) -> Reply:
        raise NotFound(singular.replace("_", " "), req.params["id"])

    response = shape({plural: array(ANY_OBJECT)})
    words = plural.replace("_", " ")
    for method, path, handler, name, rule, schema, summary in (
        ("GET", f"/{plural}", list_nothing, f"list_{plural}", Rule.READER, response, f"List {words}; there are none"),
        (
            "GET",
            f"/{plural}/detail",
            list_nothing_detailed,
            f"list_{plural}_detailed",
            Rule.READER,
            response,
            f"List {words} with details; there are none",
        ),
        ("POST", f"/{plural}", refuse, f"create_{singular}", Rule.MEMBER, None, f"Refuse to make {words}"),
        ("GET", f"/{plural}/{{id}}", find_nothing, f"show_{singular}", Rule.READER, None, f"Find none of the {words}"),
    ):
        handler.__name__ = name
        BLOCK.route(
            method,
            path,
            policy=f"volume:{plural}:{method.lower()}",
            rule=rule,
            low=low,
            response=schema,
            streams=method == "POST",
            summary=summary,
        )(handler)


for _noun in NOUNS:
    _declare(*_noun)
