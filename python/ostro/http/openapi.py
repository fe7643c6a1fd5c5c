"""The contract: OpenAPI 3.1 per service, made from the routes, and the schemas of the agent protocol, made from its structs.

``python -m ostro.http.openapi api`` writes ``api/<service>.json`` and ``api/agent/schemas.json``, and ``api/CONFORMANCE.md`` (see `conformance`). The files are committed and a test
fails when writing them again changes a byte. Requests are validated against the very same schemas, so the contract can't drift.

OpenAPI has one operation per path and method. Routes that share both and differ in their microversions become one operation, whose
body and answer say ``anyOf`` the variants; each variant carries its range as ``x-openstack-versions``.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import orjson

from ostro.http.conformance import make_page
from ostro.http.faults import TITLES
from ostro.http.idempotency import KEY_MOST
from ostro.http.nouns import Kind, find_noun
from ostro.http.policy import Rule
from ostro.http.reference import make_reference
from ostro.http.route import Route, Schema, Service
from ostro.http.settling import REVISION, WAIT_MOST_S
from ostro.model import registration, wishes
from ostro.model.errors import Bug

OPENAPI = "3.1.0"
CONTRACT_VERSION = "1"
_PARAMETER = re.compile(r"\{(\w+)(?::(\w+))?\}")

AGENT_STRUCTS: Mapping[wishes.Noun, type[msgspec.Struct]] = {
    wishes.Noun.NETWORK: wishes.NetworkWish,
    wishes.Noun.SECURITY_GROUP: wishes.SecurityGroupWish,
    wishes.Noun.PORT: wishes.PortWish,
    wishes.Noun.PEER: wishes.PeerWish,
    wishes.Noun.ROUTER: wishes.RouterWish,
    wishes.Noun.FLOATING_IP: wishes.FloatingIpWish,
    wishes.Noun.IMAGE: wishes.ImageWish,
    wishes.Noun.VOLUME: wishes.VolumeWish,
    wishes.Noun.SNAPSHOT: wishes.SnapshotWish,
    wishes.Noun.UPLOAD: wishes.UploadWish,
    wishes.Noun.SERVER: wishes.ServerWish,
    wishes.Noun.ASK: wishes.AskWish,
}
"""What the body of a wish is, by its noun."""


def make_document(service: Service) -> dict[str, Any]:
    """The OpenAPI document of one service at its canonical prefix."""
    paths: dict[str, dict[str, Any]] = {}
    for path, by_method in _grouped(service.routes).items():
        item: dict[str, Any] = {}
        if parameters := _path_parameters(path):
            item["parameters"] = parameters
        for method, routes in by_method.items():
            item[method.lower()] = _operation(service, routes)
        paths[_PARAMETER.sub(r"{\1}", path) or "/"] = item
    info: dict[str, Any] = {"title": service.title or service.name, "version": CONTRACT_VERSION}
    if service.versions is not None:
        info["x-openstack-versions"] = _range(service.versions.low, service.versions.high)
    document: dict[str, Any] = {
        "openapi": OPENAPI,
        "info": info,
        "servers": [{"url": prefix} for prefix in service.prefixes],
        "security": [{"token": []}],
        "paths": paths,
        "components": {"securitySchemes": {"token": _security(service)}},
    }
    rendered = orjson.dumps(document, option=orjson.OPT_NON_STR_KEYS).decode()
    headers = {name: header for name, header in HEADERS.items() if f"#/components/parameters/{name}" in rendered}
    if headers:
        document["components"]["parameters"] = headers
    _check_operation_ids(service, document)
    return document


HEADERS: dict[str, dict[str, Any]] = {
    "Idempotency-Key": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "For a day, a repeat of the request with the same key gets the first answer and changes nothing.",
        "schema": {"type": "string", "minLength": 1, "maxLength": KEY_MOST, "pattern": "^[ -~]*$"},
    },
    "Prefer-wait": {
        "name": "Prefer",
        "in": "header",
        "description": f"wait=N: answer when the object has settled, or after N seconds (at most {WAIT_MOST_S}).",
        "schema": {"type": "string"},
    },
    "Prefer-revision": {
        "name": "Prefer",
        "in": "header",
        "description": f"revision: say in {REVISION} from which revision on a watch tells what the list does not.",
        "schema": {"type": "string"},
    },
    "watch": {
        "name": "watch",
        "in": "query",
        "description": "Answer by server-sent events: what has changed since this revision, and whatever changes from now on.",
        "schema": {"type": "string"},
    },
}
"""Headers and parameters beyond upstream."""


def _grouped(routes: Iterable[Route]) -> dict[str, dict[str, list[Route]]]:
    """Path -> method -> routes from the oldest microversion to the newest."""
    out: dict[str, dict[str, list[Route]]] = {}
    for route in routes:
        out.setdefault(route.path, {}).setdefault(route.method, []).append(route)
    for by_method in out.values():
        for variants in by_method.values():
            variants.sort(key=lambda route: (0, 0) if route.low is None else tuple(route.low))
    return out


def _security(service: Service) -> dict[str, str]:
    name = "X-Agent-Key" if service.name == "agent" else "X-Auth-Token"
    return {"type": "apiKey", "in": "header", "name": name}


def _range(low: object, high: object) -> dict[str, str]:
    return {name: str(version) for name, version in (("min", low), ("max", high)) if version is not None}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    out = []
    for name, converter in _PARAMETER.findall(path):
        parameter: dict[str, Any] = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        if converter in ("path", "rest"):
            parameter["description"] = "May contain slashes."
        out.append(parameter)
    return out


def _operation(service: Service, routes: Sequence[Route]) -> dict[str, Any]:
    """One operation; the newest variant names it."""
    newest = routes[-1]
    operation: dict[str, Any] = {
        "operationId": newest.handler.__name__,
        "summary": newest.summary,
        "tags": [newest.policy.rsplit(":", 1)[0]],
        "x-openstack-policy": newest.policy,
        "x-openstack-rule": newest.rule.value,
    }
    if versions := _range(routes[0].low, newest.high):
        operation["x-openstack-versions"] = versions
    if newest.rule is Rule.PUBLIC and service.name != "agent":
        operation["security"] = []
    if parameters := [*_query_parameters(routes), *_header_parameters(service, newest)]:
        operation["parameters"] = parameters
    if body := _request_body(routes):
        operation["requestBody"] = body
    operation["responses"] = _responses(routes)
    return operation


def _query_parameters(routes: Sequence[Route]) -> list[dict[str, Any]]:
    merged: dict[str, Schema] = {}
    for route in routes:
        merged.update(route.query)
    return [{"name": name, "in": "query", "schema": dict(schema)} for name, schema in merged.items()]


def _header_parameters(service: Service, route: Route) -> list[dict[str, Any]]:
    """What may be asked for by headers, beyond upstream (``guides/beyond.md``)."""
    if service.name == "agent" or route.rule is Rule.PUBLIC:
        return []
    names = ["Idempotency-Key"] if route.method == "POST" and not route.streams else []
    if (found := find_noun(service, route)) is not None:
        names.append("Prefer-revision" if found[1] is Kind.LIST else "Prefer-wait")
        if route.method == "GET":
            names.append("watch")
    return [{"$ref": f"#/components/parameters/{name}"} for name in names]


def _request_body(routes: Sequence[Route]) -> dict[str, Any] | None:
    if any(route.streams for route in routes):
        return {"required": True, "content": {"application/octet-stream": {}}}
    schema = _variants([(route, route.body) for route in routes if route.body is not None])
    return None if schema is None else {"required": True, "content": {"application/json": {"schema": schema}}}


def _responses(routes: Sequence[Route]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for status in sorted({route.status for route in routes}):
        answer: dict[str, Any] = {"description": TITLES.get(status) or "Success"}
        same = [(route, route.response) for route in routes if route.status == status and route.response is not None]
        if (schema := _variants(same)) is not None:
            answer["content"] = {"application/json": {"schema": schema}}
        out[str(status)] = answer
    out["default"] = {"description": "An error in the service's own shape"}
    return out


def _variants(pairs: Sequence[tuple[Route, Schema | None]]) -> dict[str, Any] | None:
    """One schema of several microversions; None of none."""
    distinct: list[dict[str, Any]] = []
    for route, schema in pairs:
        if schema is None:
            continue
        shown = dict(schema)
        if len(pairs) > 1 and (versions := _range(route.low, route.high)):
            shown["x-openstack-versions"] = versions
        distinct.append(shown)
    if not distinct:
        return None
    return distinct[0] if len(distinct) == 1 else {"anyOf": distinct}


def _check_operation_ids(service: Service, document: Mapping[str, Any]) -> None:
    """Handlers' names identify operations, so within a service each is there once."""
    seen: set[str] = set()
    for item in document["paths"].values():
        for name, operation in item.items():
            if name == "parameters":
                continue
            if operation["operationId"] in seen:
                raise Bug(f"{service.name}: two operations are called {operation['operationId']}.")
            seen.add(operation["operationId"])


def make_agent_schemas() -> dict[str, Any]:
    """JSON Schemas of everything that goes between agents and the control plane."""
    types: list[type[msgspec.Struct]] = [
        registration.Registration,
        registration.Registered,
        wishes.Feed,
        wishes.Report,
    ]
    types += AGENT_STRUCTS.values()
    _schemas, components = msgspec.json.schema_components(types, ref_template="#/$defs/{name}")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Ostro agent protocol",
        "x-wish-bodies": {noun.value: {"$ref": f"#/$defs/{type_.__name__}"} for noun, type_ in AGENT_STRUCTS.items()},
        "$defs": components,
    }


def render(document: Mapping[str, Any]) -> bytes:
    """The document's bytes, the same for the same document."""
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)


def make_files(services: Sequence[Service]) -> dict[str, bytes]:
    """Every file of the contract: path below ``api/`` and content."""
    files = {f"{service.name}.json": render(make_document(service)) for service in services}
    files["agent/schemas.json"] = render(make_agent_schemas())
    files["policy.yaml"] = make_reference(services).encode()
    return files


def write_files(services: Sequence[Service], folder: Path) -> list[str]:
    """Write the files that differ; their paths."""
    return [name for name, content in make_files(services).items() if write_if_changed(folder / name, content)]


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write the file unless that is in it already; whether it was written."""
    if path.exists() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return True


def main(arguments: Sequence[str]) -> None:
    """``python -m ostro.http.openapi FOLDER``"""
    from ostro.http.catalog import SERVICES

    folder = Path(arguments[0])
    for name in write_files(SERVICES, folder):
        sys.stdout.write(f"{folder}/{name}\n")
    page = make_page(folder / "reference")
    if write_if_changed(folder / "CONFORMANCE.md", page.encode()):
        sys.stdout.write(f"{folder}/CONFORMANCE.md\n")


if __name__ == "__main__":
    main(sys.argv[1:])
