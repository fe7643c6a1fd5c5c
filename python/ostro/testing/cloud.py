"""A cloud in one process for tests: the real application, services and store, without a socket.

``open_cloud`` yields a ``TestCloud`` whose ``as_admin`` client speaks to the application through Quart's test client. Answers are held
against their schemas. Nothing sleeps, and the database may be either engine.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import orjson
import trio
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from ostro.http.app import make_app
from ostro.http.gate import Gate
from ostro.model.context import Actor, Context
from ostro.model.ids import new_hex
from ostro.runtime.certificates import Authority
from ostro.runtime.faults import Faults, NoFaults
from ostro.runtime.world import Clock, SystemClock, World
from ostro.saga.engine import Engine
from ostro.services.cloud import Cloud, CloudConfig, build_cloud
from ostro.services.identity.bootstrap import Administrator, bootstrap
from ostro.services.identity.catalog import seed_catalog
from ostro.services.sagas import make_sagas
from ostro.store.assignments import ASSIGNMENTS, ActorKind, Assignment, TargetKind
from ostro.store.database import Database, Tx
from ostro.store.migrate import migrate
from ostro.store.projects import DEFAULT_DOMAIN_ID, PROJECTS, new_project
from ostro.store.roles import ROLES
from ostro.store.sqlite import SqliteDatabase
from ostro.store.users import USERS, new_user

if TYPE_CHECKING:
    from ostro.runtime.ceph.connection import Ceph

ADMIN_PASSWORD = "correct horse"
AGENT_KEY = "test-agent-key"


@dataclass(frozen=True)
class Answer:
    """An HTTP answer, read whole."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return orjson.loads(self.body)


async def call_app(app: QuartTrio, method: str, path: str, data: bytes, headers: Mapping[str, str]) -> Answer:
    """One request through the application, as the server would hand it over; what breaks after the answer's head is raised."""
    raw_path, _, query = quote(path, safe="/%?=&:@!$'()*+,;~{}").partition("?")
    waiting = [{"type": "http.request", "body": data, "more_body": False}]
    status = 0
    got = Headers()
    parts: list[bytes] = []

    async def receive() -> Any:
        if waiting:
            return waiting.pop()
        await trio.sleep_forever()

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            got.extend((name.decode().title(), value.decode()) for name, value in message["headers"])
        elif message["type"] == "http.response.body":
            parts.append(message["body"])

    scope = {
        "type": "http",
        "http_version": "1.1",
        "asgi": {"spec_version": "2.1", "version": "3.0"},
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(b"host", b"localhost"), *((n.lower().encode(), v.encode()) for n, v in headers.items())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "extensions": {},
        "state": {},
    }
    await app(scope, receive, send)  # type: ignore[arg-type]
    return Answer(status, got, b"" if method == "HEAD" else b"".join(parts))


class ApiClient:
    """Speaks to the application with a token of one user and scope."""

    def __init__(self, app: QuartTrio, token: str = "", headers: Mapping[str, str] | None = None) -> None:
        self.app = app
        self.token = token
        self._headers = dict(headers or {})

    def with_headers(self, **headers: str) -> ApiClient:
        """The same client with more headers; underscores stand for dashes."""
        return ApiClient(
            self.app, self.token, {**self._headers, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )

    async def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One call; ``json`` becomes the body unless ``data`` is given. What isn't ASCII in ``path`` is quoted."""
        sent = {**self._headers, **(headers or {})}
        if self.token:
            sent.setdefault("X-Auth-Token", self.token)
        if json is not None:
            data = orjson.dumps(json)
            sent.setdefault("Content-Type", "application/json")
        if data is not None:
            sent.setdefault("Content-Length", str(len(data)))
        return await call_app(self.app, method, path, data or b"", sent)

    async def get(self, path: str, **more: Any) -> Answer:
        return await self.request("GET", path, **more)

    async def post(self, path: str, json: Any = None, **more: Any) -> Answer:
        return await self.request("POST", path, json, **more)

    async def put(self, path: str, json: Any = None, **more: Any) -> Answer:
        return await self.request("PUT", path, json, **more)

    async def patch(self, path: str, json: Any = None, **more: Any) -> Answer:
        return await self.request("PATCH", path, json, **more)

    async def delete(self, path: str, **more: Any) -> Answer:
        return await self.request("DELETE", path, **more)


@dataclass
class TestCloud:
    """The parts of a running test cloud."""

    __test__ = False

    world: World
    db: Database
    cloud: Cloud
    gate: Gate
    app: QuartTrio
    nursery: trio.Nursery
    as_admin: ApiClient
    anonymous: ApiClient
    sagas: Engine
    """Steps when a test tells it to; it doesn't run by itself."""

    async def login(self, user: str, password: str, project: str, domain: str = "default") -> ApiClient:
        """A client with a project-scoped token."""
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": {"id": domain}, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": {"id": domain}}},
            }
        }
        answer = await self.anonymous.post("/identity/v3/auth/tokens", body)
        assert answer.status == 201, answer.body
        return ApiClient(self.app, answer.headers["X-Subject-Token"])

    async def add_user(self, name: str, project: str, role: str = "member") -> ApiClient:
        """A client of a new user with a role on a project, which is made when it is not there yet. The password is the name."""
        password_hash = await self.cloud.passwords.hash(name)
        await self.db.run(_add_user, self.world, name, password_hash, project, role)
        return await self.login(name, name, project)

    def admin_context(self) -> Context:
        """The context of an administrator without a project, for calling services directly."""
        admin = Actor("admin", "admin", "default", "Default", roles=frozenset(("admin", "manager", "member", "reader")))
        return Context(admin, "req-test", self.world.now_us(), self.world.random, self.cloud.policies)

    @property
    def as_agent(self) -> ApiClient:
        """A client with the agent key."""
        return ApiClient(self.app, headers={"X-Agent-Key": AGENT_KEY})


def _add_user(tx: Tx, world: World, name: str, password_hash: str, project_name: str, role_name: str) -> None:
    role = ROLES.find(tx, name=role_name, domain_id="")
    assert role is not None, f"no role {role_name}"
    now_us = world.now_us()
    project = PROJECTS.find(tx, name=project_name, domain_id=DEFAULT_DOMAIN_ID, is_domain=False)
    if project is None:
        project = new_project(new_hex(world.random), project_name, "", now_us=now_us)
        PROJECTS.insert(tx, project)
    user = new_user(new_hex(world.random), name, password_hash, now_us=now_us)
    USERS.insert(tx, user)
    ASSIGNMENTS.insert(tx, Assignment(ActorKind.USER, user.id, TargetKind.PROJECT, project.id, role.id, False))


@asynccontextmanager
async def open_cloud(
    state_dir: Path,
    *,
    seed: int = 1,
    faults: Faults | None = None,
    db: Database | None = None,
    ceph: Ceph | None = None,
    authority: Authority | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[TestCloud]:
    """A bootstrapped cloud below ``state_dir``; on SQLite unless ``db`` is given. Hosts may join it where it has an ``authority``."""
    world = World(clock or SystemClock(), random.Random(seed), faults=faults or NoFaults())
    database = db or SqliteDatabase(world, str(state_dir / "ostro.db"), durable=False)
    cloud = build_cloud(
        world,
        database,
        CloudConfig(state_dir=state_dir, agent_key=AGENT_KEY, password_memory_kib=64),
        ceph,
        authority,
    )
    gate = Gate(cloud, check_replies=True)
    app = make_app(gate)
    async with trio.open_nursery() as nursery:
        await nursery.start(database.serve)
        await migrate(database)
        password_hash = await cloud.passwords.hash(ADMIN_PASSWORD)
        await database.run(bootstrap, world, Administrator(password_hash))
        await database.run(seed_catalog, cloud.config.region)
        nursery.start_soon(cloud.changes.run)
        anonymous = ApiClient(app)
        test_cloud = TestCloud(
            world,
            database,
            cloud,
            gate,
            app,
            nursery,
            anonymous,
            anonymous,
            Engine(world, database, make_sagas(cloud)),
        )
        test_cloud.as_admin = await test_cloud.login("admin", ADMIN_PASSWORD, "admin")
        yield test_cloud
        nursery.cancel_scope.cancel()
    database.close()
