"""``/docs``: the contract of this very server, for people and for programs. One plain page, nothing loaded from elsewhere."""

from __future__ import annotations

import html
from collections.abc import Sequence
from importlib import resources

from ostro.http.faults import HTML, identity_shape
from ostro.http.openapi import make_document, render
from ostro.http.policy import Rule
from ostro.http.request import Reply, Request
from ostro.http.route import Route, Service
from ostro.http.schema import ANY_OBJECT, shape
from ostro.model.errors import NotFound

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "h2{margin-top:2rem}table{border-collapse:collapse;width:100%}td{padding:.2rem .6rem;border-top:1px solid #ddd;"
    "vertical-align:top}code{font-size:.9em}.m{font-weight:600;width:5rem}.r{color:#777;white-space:nowrap}"
)


def make_docs(services: Sequence[Service]) -> Service:
    """The service that shows the other services' contracts."""
    docs = Service("docs", ("/docs",), identity_shape, title="Contract")
    page = render_page(services)
    guides = read_guides()
    documents = {service.name: render(make_document(service)) for service in services}

    @docs.route("GET", "", policy="docs:show", rule=Rule.PUBLIC, summary="Show every operation as a page")
    async def show_page(req: Request) -> Reply:
        return Reply(page, content_type=HTML)

    @docs.route(
        "GET",
        "/{name}.json",
        policy="docs:show",
        rule=Rule.PUBLIC,
        response=shape({"openapi": {"type": "string"}, "paths": ANY_OBJECT}),
        summary="Show a service's OpenAPI document",
    )
    async def show_document(req: Request) -> Reply:
        name = req.params["name"]
        if name not in documents:
            raise NotFound("document", name)
        return Reply(documents[name])

    @docs.route("GET", "/{name}.md", policy="docs:show", rule=Rule.PUBLIC, summary="Show a guide")
    async def show_guide(req: Request) -> Reply:
        name = req.params["name"]
        if name not in guides:
            raise NotFound("document", name)
        return Reply(guides[name], content_type="text/markdown; charset=UTF-8")

    return docs


def read_guides() -> dict[str, bytes]:
    """What is explained in words, by name."""
    folder = resources.files("ostro.http") / "guides"
    return {f.name.removesuffix(".md"): f.read_bytes() for f in folder.iterdir() if f.name.endswith(".md")}


def render_page(services: Sequence[Service]) -> bytes:
    """Every operation of every service, with a link to each service's document."""
    parts = [f"<!doctype html><html lang=en><meta charset=utf-8><title>Ostro APIs</title><style>{_STYLE}</style>"]
    parts.append("<h1>Ostro APIs</h1><p>What is not upstream's: <a href='/docs/beyond.md'>beyond upstream</a></p>")
    for service in services:
        link = f"<a href='/docs/{service.name}.json'><code>{service.name}.json</code></a>"
        parts.append(f"<h2>{html.escape(service.title or service.name)} {link}</h2>")
        if service.versions:
            parts.append(f"<p>Microversions {service.versions.low} to {service.versions.high}</p>")
        rows = "".join(_row(service, route) for route in service.routes)
        parts.append(f"<table>{rows}</table>")
    return "\n".join(parts).encode()


def _row(service: Service, route: Route) -> str:
    path = html.escape(service.prefixes[0] + route.path)
    versions = f" {route.low or ''}&ndash;{route.high or ''}" if route.low or route.high else ""
    return (
        f"<tr><td class=m>{route.method}<td><code>{path}</code>"
        f"<td>{html.escape(route.summary)}<td class=r>{route.rule}{versions}"
    )
