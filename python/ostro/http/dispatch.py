"""One request through the frame: version, token, policy, body, handler, answer. Handlers see only what has passed.

The order is the security argument: nothing of a request but its headers is looked at before its token is valid, and nothing of
its body before its policy allows the call. Every error becomes the service's own shape here; one that nobody foresaw is
logged with its cause and shown without it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import orjson
import structlog
import trio
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge, RequestTimeout

from ostro.http.access import check_access_rules
from ostro.http.deeds import READS, UNRECORDED, begin_trail, deed_of, who_logged_in
from ostro.http.exchange import Incoming, Outgoing
from ostro.http.faults import JSON, MethodNotAllowed, UnsupportedMediaType, make_fault
from ostro.http.idempotency import REPLAYED, Once
from ostro.http.nouns import Kind, Noun, find_noun, show_route
from ostro.http.policy import Rule, check_scope, enforce
from ostro.http.request import Request, SlowBody
from ostro.http.route import Reply, Route, Service
from ostro.http.schema import BODY_MOST_BYTES, Validator, check_size, parse_json
from ostro.http.settling import answer_preferred
from ostro.http.shedding import OWN_LANE, HeldStream, Shedder
from ostro.http.targets import authorize
from ostro.http.versions import Version
from ostro.http.watch import watch
from ostro.http.wire import ClientGone
from ostro.model.context import NOBODY, Actor, Context
from ostro.model.errors import Invalid, NotFound, TooLarge, Unauthenticated
from ostro.runtime.log import REQUEST_ID
from ostro.services.audit.events import Deed, Trail
from ostro.services.cloud import Cloud

log = structlog.get_logger()

BODY_TIMEOUT_S = 60.0
"""For a whole JSON body, which is small."""
UNAUTHORIZED = 401
REFUSALS = frozenset((UNAUTHORIZED, 403))
BAD = 400
AGENT_PREFIX = "/agent/"
NO_API = b'{"error": {"code": 404, "title": "Not Found", "message": "No such API."}}'
UNAUTHENTICATED = "The request you have made requires authentication."


class Endpoint:
    """All the routes of one path: by method, and by microversion within a method."""

    def __init__(self, cloud: Cloud, service: Service, path: str, shedder: Shedder, *, check_replies: bool) -> None:
        self._cloud = cloud
        self._service = service
        self._path = path
        self._routes: dict[str, list[Route]] = {}
        self._bodies: dict[int, Validator] = {}
        self._replies: dict[int, Validator] = {}
        self._deeds: dict[int, Deed] = {}
        self._nouns: dict[int, tuple[Noun, Kind]] = {}
        self._check_replies = check_replies
        self._shedder = shedder
        self._bounded = service.name not in OWN_LANE
        self._durations: dict[str, Callable[[float], None]] = {}
        self._answers: dict[int, Callable[[], None]] = {}

    def add(self, route: Route) -> None:
        """Add a route of this path; its schemas are compiled now, so a bad one stops the start."""
        self._routes.setdefault(route.method, []).append(route)
        self._deeds[id(route)] = deed_of(self._service, route)
        if (found := find_noun(self._service, route)) is not None:
            self._nouns[id(route)] = found
        if route.body is not None:
            self._bodies[id(route)] = Validator(route.body)
        if route.response is not None and self._check_replies:
            self._replies[id(route)] = Validator(route.response)

    def waits(self, method: str) -> bool:
        """Whether answering may take long on purpose, so that it must end when the client goes away."""
        return any(route.waits for route in self._routes.get(method, ()))

    async def handle(self, raw: Incoming, params: dict[str, str]) -> Outgoing:
        """Answer a request."""
        started_s = time.perf_counter()
        service = self._service
        request_id = service.new_request_id(self._cloud.world)
        ours = REQUEST_ID.set(request_id)
        version: Version | None = None
        route: Route | None = None
        actor = NOBODY
        try:
            if self._bounded and not self._shedder.turns.begin():
                await self._shedder.turns.wait(self._whose(raw))
                check_there(raw)
            version = service.versions.negotiate(raw.headers) if service.versions else None
            route = self._choose(raw.method, version)
            actor = await authenticate(self._cloud, route, raw)
            if self._bounded:
                if actor.user_id:
                    self._shedder.check_project(actor.project_id or actor.user_id)
                if not actor.user_id or self._shows_secret(route):
                    self._shedder.check_address(raw.remote_addr or "")
            answer = await self._answer(route, raw, params, actor, version, request_id)
        except Exception as error:  # noqa: BLE001 - every error becomes an answer here, and is logged there
            answer = error_answer(self._cloud, service, error, request_id, raw, version)
            if answer.status == UNAUTHORIZED and self._bounded and route is not None and route.rule is Rule.PUBLIC:
                self._shedder.note_failure(raw.remote_addr or "")
            if route is not None and answer.status in REFUSALS and service.name not in UNRECORDED:
                self._cloud.audit.hold(self._trail(route, raw, params, actor, request_id), answer.status)
        if version is not None and service.versions is not None:
            answer.headers += service.versions.response_headers(version)
        answer.add([(name, request_id) for name in service.id_headers])
        log_request(raw, answer.status, request_id, started_s)
        self._count(raw.method, answer.status, time.perf_counter() - started_s)
        REQUEST_ID.reset(ours)
        return answer

    def _whose(self, raw: Incoming) -> str:
        """Whose turn a request takes that nobody has looked at yet: its project's, if its token has been seen before."""
        known = self._cloud.tokens.recall(raw.headers.get("X-Auth-Token", ""))
        return (known.project_id or known.user_id if known is not None else raw.remote_addr) or ""

    def _count(self, method: str, status: int, took_s: float) -> None:
        """Note a request among the metrics."""
        durations = self._durations.get(method)
        if durations is None:
            known = method if method in self._routes or method == "HEAD" else "other"
            labels = (self._service.name, known, self._service.prefixes[0] + self._path)
            durations = self._cloud.world.metrics.requests.labels(*labels).observe
            if known == method:
                self._durations[method] = durations
        durations(took_s)
        answers = self._answers.get(status)
        if answers is None:
            answers = self._cloud.world.metrics.answers.labels(self._service.name, str(status)).inc
            self._answers[status] = answers
        answers()

    def _choose(self, method: str, version: Version | None) -> Route:
        routes = self._routes.get(method)
        if routes is None and method == "HEAD":
            routes = self._routes.get("GET")
        if routes is None:
            raise MethodNotAllowed("The method is not allowed for this resource.")
        for route in routes:
            if route.covers(version):
                return route
        raise NotFound("resource", self._path, "The resource could not be found.")

    def _shows_secret(self, route: Route) -> bool:
        """Whether the route is for showing that one knows a secret, which may be another's: a token of one's own is no leave to guess."""
        return self._service.name == "identity" and route.rule is Rule.PUBLIC and route.method == "POST"

    def _trail(
        self, route: Route, raw: Incoming, params: dict[str, str], actor: Actor, request_id: str, body: Any = None
    ) -> Trail:
        return begin_trail(self._deeds[id(route)], raw, params, actor, request_id, self._cloud.world.now_us(), body)

    async def _answer(
        self,
        route: Route,
        raw: Incoming,
        params: dict[str, str],
        actor: Actor,
        version: Version | None,
        request_id: str,
    ) -> Outgoing:
        cloud = self._cloud
        if route.rule is not Rule.PUBLIC:
            if self._service.projects_only:
                check_scope(route.policy, actor)
            enforce(cloud.policies, route.policy, route.rule, actor)
        if self._service.admit is not None:
            self._service.admit(cloud, raw)
        if actor.access_rules is not None:
            check_access_rules(self._service.name, route.rule is Rule.PUBLIC, raw.method, raw.path, actor)
        patient = route.streams or route.waits or (id(route) in self._nouns and _is_patient(raw))
        queue = self._shedder.choose(stranger=not actor.user_id, patient=patient)
        key = actor.project_id or actor.user_id or raw.remote_addr or ""
        if self._bounded:
            # What is refused shall cost as little as can be, so its body is not looked at.
            queue.check(key)
        nothing = raw.bodiless and route.body is None
        body = None if route.streams or nothing else await self._read_body(route, raw)
        request = Request(
            cloud=cloud,
            context=Context(actor, request_id, cloud.world.now_us(), cloud.world.random, cloud.policies, cloud.limits),
            route=route,
            params=params,
            query=raw.args,
            headers=raw.headers,
            body=body,
            version=version,
            base_url=cloud.config.public_url or f"{raw.scheme}://{raw.host}",
            path=raw.path,
            raw=raw,
        )
        is_login = self._deeds[id(route)].action == "authenticate"
        if (raw.method not in READS or is_login) and self._service.name not in UNRECORDED:
            request.trail = self._trail(route, raw, params, actor, request_id, body)
        if self._service.check is not None:
            self._service.check(request)
        if not self._bounded:
            return await self._respond(request)
        waited = await queue.enter(key)
        held = False
        try:
            if waited:
                check_there(raw)
            answer = await self._respond(request)
            if patient and answer.live and not isinstance(answer.body, bytes):
                answer.body, held = HeldStream(answer.body, partial(queue.leave, key)), True
            return answer
        finally:
            if not held:
                queue.leave(key)

    async def _respond(self, request: Request) -> Outgoing:
        """Answer what has passed everything else, in the way that its client prefers."""
        route, raw = request.route, request.raw
        if route.policy in request.cloud.policies.overrides:
            await authorize(request, route.policy, route.rule)
        found = self._nouns.get(id(route))
        if found is None:
            return await self._handle(request)
        noun, kind = found
        if b"watch" in raw.query_string and kind is not Kind.CREATE and "watch" in request.query:
            show = show_route(self._service, noun, request.version)
            return await watch(request, noun, kind, show, lambda: authenticate(self._cloud, route, raw))
        if "Prefer" in raw.headers:
            show = show_route(self._service, noun, request.version)
            return await answer_preferred(request, noun, kind, show, lambda: self._handle(request))
        return await self._handle(request)

    async def _handle(self, request: Request) -> Outgoing:
        """Have the handler answer, once for a key."""
        route, raw, trail = request.route, request.raw, request.trail
        if raw.method == "POST" and request.context.user_id and "Idempotency-Key" in raw.headers:
            key = raw.headers["Idempotency-Key"]
            answer = await Once(request, key, lambda reply: self._finish(route, reply)).answer()
            if trail is not None and not trail.written and REPLAYED not in answer.headers:
                await self._record(trail, None, answer.status)
            return answer
        reply = await route.handler(request)
        trail = request.trail  # A handler may have found that there is nothing to record.
        if trail is not None and not trail.written:
            await self._record(trail, reply.body, reply.status or route.status)
        return self._finish(route, reply)

    def _finish(self, route: Route, reply: Reply) -> Outgoing:
        """The answer of a reply; in tests, held against the contract."""
        if self._check_replies and isinstance(reply.body, dict | list):
            self._check(route, reply)
        return to_answer(route, reply)

    async def _record(self, trail: Trail, body: Any, status: int) -> None:
        """Record what was done without a transaction of the request's own: at once when it is a change, soon when it is a login."""
        if trail.deed.action == "authenticate" or status >= BAD:
            trail.actor = who_logged_in(body, trail.actor)
            self._cloud.audit.hold(trail, status)
        else:
            await self._cloud.audit.note(trail, status)

    def _check(self, route: Route, reply: Reply) -> None:
        """Hold an answer against its schema (tests and rehearsal only)."""
        assert id(route) in self._replies, f"{route.method} {route.path} answers JSON and has no response schema"
        try:
            self._replies[id(route)].check(orjson.loads(orjson.dumps(reply.body)))
        except Invalid as error:
            raise AssertionError(f"{route.method} {route.path} breaks its contract: {error.message}") from error

    async def _read_body(self, route: Route, raw: Incoming) -> Any:
        check_size(raw.content_length or 0, route.body_most_bytes)
        data = bytearray()
        with trio.move_on_after(BODY_TIMEOUT_S) as scope:
            async for part in raw.body:
                data += part
                check_size(len(data), route.body_most_bytes)
        if scope.cancelled_caught:
            raise SlowBody(f"The request's body did not arrive within {BODY_TIMEOUT_S:g} s.")
        validator = self._bodies.get(id(route))
        if validator is None:
            return None
        if not data:
            raise Invalid("The request needs a JSON body.")
        kind = raw.mimetype
        if kind and kind != "application/json" and not kind.endswith("+json") and kind not in route.consumes:
            raise UnsupportedMediaType(f"Unsupported Content-Type: {kind}")
        value = parse_json(bytes(data))
        validator.check(value)
        return value


def check_there(raw: Incoming) -> None:
    """Raise ClientGone when whoever asked has gone away while the request waited: nothing of it is begun then."""
    if raw.has_gone():
        raise ClientGone("The client went away while its request waited.")


def _is_patient(raw: Incoming) -> bool:
    """Whether a request wants to wait for what becomes of an object."""
    return "wait" in raw.headers.get("Prefer", "") or b"watch=" in raw.query_string


async def authenticate(cloud: Cloud, route: Route, raw: Incoming) -> Actor:
    """The actor of ``X-Auth-Token``. Raises Unauthenticated unless the route is public."""
    token = raw.headers.get("X-Auth-Token") or raw.headers.get("X-Storage-Token") or _bearer(raw)
    if not token:
        if route.rule is Rule.PUBLIC:
            return NOBODY
        raise Unauthenticated(UNAUTHENTICATED)
    if route.rule is Rule.PUBLIC:
        # A stale token must not stop a public call, such as asking for a new one.
        try:
            return await cloud.tokens.validate(token)
        except Unauthenticated:
            return NOBODY
    return await cloud.tokens.validate(token)


def _bearer(raw: Incoming) -> str:
    """The token of an OAuth 2.0 header; empty without one."""
    scheme, _, token = raw.headers.get("Authorization", "").partition(" ")
    return token if scheme.lower() == "bearer" else ""


def to_answer(route: Route, reply: Reply) -> Outgoing:
    """A handler's answer as the server sends it. Headers of the handler replace those of the frame once."""
    status = reply.status or route.status
    body = reply.body
    if body is None:
        answer = Outgoing(status)
    elif isinstance(body, dict | list):
        answer = Outgoing(status, orjson.dumps(body), [("Content-Type", reply.content_type)])
    else:
        answer = Outgoing(status, body, [("Content-Type", reply.content_type)])
    if reply.headers:
        answer.add(reply.headers)
    return answer


def translate(error: Exception) -> Exception:
    """What Quart raises, in our terms; a nursery's group of one error is that error."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    match error:
        case RequestEntityTooLarge():
            return TooLarge(f"Request is too large: a body may have {BODY_MOST_BYTES} bytes.")
        case RequestTimeout() | ClientDisconnected():
            return Invalid("The request's body did not arrive whole.")
        case _:
            return error


def error_answer(
    cloud: Cloud,
    service: Service | None,
    error: Exception,
    request_id: str,
    raw: Incoming,
    version: Version | None = None,
) -> Outgoing:
    """An error in the service's shape."""
    error = translate(error)
    fault = make_fault(error, request_id, version)
    if fault.status == 500:
        log.error("request failed", request_id=request_id, method=raw.method, path=raw.path, exc_info=error)
    elif detail := getattr(error, "detail", ""):
        log.info("request refused", request_id=request_id, path=raw.path, status=fault.status, detail=detail)
    body, content_type = (NO_API, JSON) if service is None else service.faults(fault)
    answer = Outgoing(fault.status, body, [("Content-Type", content_type)])
    if fault.status == 401:
        root = cloud.config.public_url or f"{raw.scheme}://{raw.host}"
        answer.headers.append(("WWW-Authenticate", f'Keystone uri="{root}/identity"'))
    retry_after_s = getattr(error, "retry_after_s", None)
    if retry_after_s is not None:
        answer.headers.append(("Retry-After", str(retry_after_s)))
    return answer


def log_request(raw: Incoming, status: int, request_id: str, started_s: float) -> None:
    """One line a request: changes and failures are events; reads and what agents say are detail."""
    detail = raw.method in ("GET", "HEAD") or raw.path.startswith(AGENT_PREFIX)
    write = log.debug if detail and status < 500 else log.info
    write(
        "request",
        method=raw.method,
        path=raw.path,
        status=status,
        ms=round((time.perf_counter() - started_s) * 1e3, 1),
        request_id=request_id,
    )
