"""The five routes of a ``services.identity.resources.Resource``: create, list, show, change, delete."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ostro.http.identity.service import IDENTITY
from ostro.http.identity.views import (
    LINKS,
    PAGE_QUERY,
    check_id,
    list_shape,
    name_filters,
    name_query,
    page_body,
    page_of,
    reference,
    self_link,
    split_extra,
)
from ostro.http.paging import cut
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Handler, Schema
from ostro.http.schema import STRING, shape, wrapped
from ostro.services.identity.resources import Resource
from ostro.store.paging import Filter, Where

FALSE = ("0", "false", "no", "f", "n", "off")


@dataclass(frozen=True)
class Wire:
    """How a resource looks on the wire."""

    resource: Resource[Any]
    path: str
    """Below /v3, such as ``endpoints``."""
    given: Mapping[str, Schema]
    required: tuple[str, ...] = ()
    shown: Mapping[str, Schema] | None = None
    """What its answer holds besides id and links; by default what can be given."""
    nullable: tuple[str, ...] = ()
    """Fields that are null on the wire when they are empty."""
    filters: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    """Filters that are true or false."""
    names: tuple[str, ...] = ()
    """Fields that may be asked for inexactly, by ``name__contains`` and so on."""
    names_itself: bool = False
    """Created by PUT under an id that the caller chooses."""
    strict: bool = False
    """No fields but the known ones."""
    sort: str = "id"
    decorate: Callable[[Request, Any], dict[str, Any]] | None = None
    """What the answer holds besides the row's fields."""

    @property
    def schema(self) -> dict[str, Any]:
        """Of one of them."""
        shown = self.given if self.shown is None else self.shown
        return shape({"id": STRING, **{name: {} for name in shown}, "links": LINKS})

    def view(self, req: Request, row: Any) -> dict[str, Any]:
        """One of them as Identity shows it."""
        fields = {name: getattr(row, name) for name in self.resource.defaults}
        fields |= {name: fields[name] or None for name in self.nullable}
        return {
            **getattr(row, "extra", {}),
            "id": row.id,
            **fields,
            **(self.decorate(req, row) if self.decorate else {}),
            "links": self_link(req, self.path, row.id),
        }

    def body(self, **more: Any) -> dict[str, Any]:
        """The schema of a body."""
        schema = {**reference(self.given), **more}
        if self.strict:
            schema["additionalProperties"] = False
            # Clients repeat the id of the path.
            schema["properties"] = {**schema["properties"], **({"id": STRING} if self.names_itself else {})}
        return wrapped(self.resource.noun, schema)

    def split(self, req: Request) -> tuple[dict[str, Any], dict[str, Any]]:
        """The fields of a body, and the others."""
        return split_extra(req.body[self.resource.noun], self.resource.fields)

    def conditions(self, req: Request) -> list[Filter | Where]:
        """The filters that the query names."""
        out: list[Filter | Where] = [Filter(name, req.query[name]) for name in self.filters if name in req.query]
        out += [Filter(name, req.query[name].lower() not in FALSE) for name in self.flags if name in req.query]
        for name in self.names:
            out += name_filters(req, self.resource.table.name, name)
        return out


def declare_resource(wire: Wire, *, without: Sequence[str] = ()) -> None:
    """Declare the routes, ``without`` those of some verbs."""
    for method, suffix, verb, handler, more in (*_changes(wire), *_reads(wire)):
        resource = wire.resource
        if verb in without:
            continue
        handler.__name__ = f"{verb}_{resource.plural if verb == 'list' else resource.noun}"
        verb_of_policy = "get" if verb == "show" else verb
        noun = resource.plural if verb == "list" else resource.noun
        article = "" if verb == "list" else "an " if resource.spoken[0] in "aeiou" else "a "
        spoken = resource.plural.replace("_", " ") if verb == "list" else resource.spoken
        IDENTITY.route(
            method,
            f"/v3/{wire.path}{suffix}",
            policy=f"identity:{verb_of_policy}_{noun}",
            rule=Rule.POLICY,
            summary=f"{'Change' if verb == 'update' else verb.capitalize()} {article}{spoken}",
            **more,
        )(handler)


_Entry = tuple[str, str, str, Handler, dict[str, Any]]


def _changes(wire: Wire) -> Sequence[_Entry]:
    resource = wire.resource
    one = shape({resource.noun: wire.schema})

    async def create(req: Request) -> Reply:
        row = await req.run(resource.create, *wire.split(req), req.params.get("id", ""))
        return Reply({resource.noun: wire.view(req, row)})

    async def update(req: Request) -> Reply:
        check_id(req.body[resource.noun], req.params["id"])
        row = await req.run(resource.update, req.params["id"], *wire.split(req))
        return Reply({resource.noun: wire.view(req, row)})

    async def delete(req: Request) -> Reply:
        await req.run(resource.delete, req.params["id"])
        return Reply()

    created = {"status": 201, "body": wire.body(required=list(wire.required)), "response": one}
    return (
        ("PUT" if wire.names_itself else "POST", "/{id}" if wire.names_itself else "", "create", create, created),
        ("PATCH", "/{id}", "update", update, {"body": wire.body(minProperties=1), "response": one}),
        ("DELETE", "/{id}", "delete", delete, {"status": 204}),
    )


def _reads(wire: Wire) -> Sequence[_Entry]:
    resource = wire.resource

    async def show(req: Request) -> Reply:
        return Reply({resource.noun: wire.view(req, await req.read(resource.get, req.params["id"]))})

    async def list_(req: Request) -> Reply:
        page = page_of(req, *wire.conditions(req), sort=wire.sort)
        rows = await req.read(resource.list, page)
        views = [wire.view(req, row) for row in cut(rows, page)[0]]
        return Reply(page_body(req, resource.plural, rows, page, views))

    query = dict.fromkeys((*wire.filters, *wire.flags), STRING)
    for name in wire.names:
        query |= name_query(name)
    return (
        ("GET", "/{id}", "show", show, {"response": shape({resource.noun: wire.schema})}),
        (
            "GET",
            "",
            "list",
            list_,
            {"response": list_shape(resource.plural, wire.schema), "query": {**query, **PAGE_QUERY}},
        ),
    )
