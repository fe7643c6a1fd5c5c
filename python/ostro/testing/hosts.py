"""Simulated hosts: they speak the agent API in process and do everything that is wished, at once or when a test lets them.

``sync`` is one round: read the feed, do it, report. A host can be told to hold back a noun (``held``), to fail certain objects (``failing``),
or to change a server behind everybody's back (``powers``). ``things`` is what the host has, so a test can see what was left behind, and ``running``
which servers run there. Hosts that know each other (``meet``) send each other servers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ostro.model.wishes import (
    ComingWish,
    GoingWish,
    MigrationReport,
    MigrationState,
    Noun,
    Phase,
    Power,
    Report,
    ServerWish,
    Stage,
)
from ostro.testing.cloud import ApiClient, TestCloud

INVENTORY: dict[str, Any] = {
    "vcpus": 8,
    "ram_mb": 16384,
    "disk_gb": 200,
    "hypervisor_type": "fake",
    "hypervisor_version": 1,
    "cpu_info": "{}",
    "traits": [],
}
Key = tuple[Noun, str]


@dataclass
class SimHost:
    """One host. Make it by ``add_host``."""

    client: ApiClient
    name: str
    host_id: str = ""
    incarnation: str = "1"
    revision: int = 0
    epoch: int = 0
    wished: dict[Key, tuple[int, Any]] = field(default_factory=dict)
    """(generation, body) of every wish not yet reported on."""
    things: dict[Key, Any] = field(default_factory=dict)
    """What the host has, as it was wished."""
    held: set[Noun] = field(default_factory=set)
    failing: dict[str, str] = field(default_factory=dict)
    """Reasons by id: the host gives up on these."""
    powers: dict[str, Power] = field(default_factory=dict)
    """Servers that are not doing what they were wished to."""
    fence_s: float = 0.0
    root_backend: str = ""
    """The kind of storage that it says servers' root disks are in."""
    stages: list[Stage] = field(default_factory=list)
    """Told with every report of a server that is ready."""
    answer: Callable[[Any], str] = lambda _ask: "console"
    neighbours: dict[str, SimHost] = field(default_factory=dict)
    """Hosts by name that servers can be sent to."""
    running: set[str] = field(default_factory=set)
    """The ids of the servers that run here."""
    arrived: set[str] = field(default_factory=set)
    """Migrations by which servers have come."""
    sending: dict[str, MigrationState] = field(default_factory=dict)
    """What becomes of migrations from here, by server, unless they just succeed."""
    tried: dict[str, MigrationState] = field(default_factory=dict)
    """What has become of migrations from here, each of which is tried once."""
    volume_bytes: bytes = b"what the volume holds"
    """What is sent for an image of any volume."""
    sent: dict[str, int] = field(default_factory=dict)
    """How the control plane answered to what was sent, by upload."""
    known: dict[Key, tuple[int, Any]] = field(default_factory=dict)
    """(generation, body) of every server's wish that was reported on."""

    @property
    def _path(self) -> str:
        return f"/agent/v1/hosts/{self.host_id}"

    async def register(self, **inventory: Any) -> None:
        """Say who we are."""
        body = {
            "name": self.name,
            "incarnation": self.incarnation,
            "tunnel_ip": "127.0.0.1",
            "inventory": {**INVENTORY, **inventory},
            "fence_s": self.fence_s,
        }
        for _attempt in range(2):
            answer = await self.client.post("/agent/v1/hosts", {**body, "epoch": self.epoch})
            assert answer.status == 200, answer.body
            self.host_id = answer.json["host_id"]
            if self.epoch == answer.json["epoch"]:
                break
            self.epoch = answer.json["epoch"]
        self.client = self.client.with_headers(X_Agent_Incarnation=self.incarnation, X_Agent_Epoch=str(self.epoch))

    async def read_wishes(self, wait_s: int = 0) -> int:
        """Read what has changed; how many wishes there were."""
        answer = await self.client.get(f"{self._path}/wishes?since={self.revision}&wait_s={wait_s}")
        assert answer.status == 200, answer.body
        self.revision = answer.json["revision"]
        for wish in answer.json["wishes"]:
            self.wished[Noun(wish["noun"]), wish["id"]] = (wish["generation"], wish["body"])
        return len(answer.json["wishes"])

    async def report(self) -> int:
        """Do and report everything that is not held back; how many reports there were."""
        due = [key for key in self.wished if key[0] not in self.held]
        for key in due:
            await self._send_upload(key, self.wished[key][1])
        reports = [self._carry_out(key, *self.wished.pop(key)) for key in due]
        if reports:
            body = {"reports": [msgspec.to_builtins(r) for r in reports]}
            answer = await self.client.post(f"{self._path}/reports", body)
            assert answer.status == 200, answer.body
        return len(reports)

    async def _send_upload(self, key: Key, body: Any) -> None:
        """Send the bytes of an image that can't be put where the control plane keeps images."""
        noun, id_ = key
        if noun is Noun.UPLOAD and body is not None and not body["shared"] and id_ not in self.failing:
            path = f"{self._path}/uploads/{id_}/data"
            answer = await self.client.put(path, data=self.volume_bytes)
            self.sent[id_] = answer.status
            if answer.status != 204:
                self.failing[id_] = "It was not taken."

    def _carry_out(self, key: Key, generation: int, body: Any) -> Report:
        noun, id_ = key
        if noun is Noun.SERVER:
            self.known[key] = (generation, body)
        if body is None:
            self.things.pop(key, None)
            self.known.pop(key, None)
            self.running.discard(id_)
            return Report(noun, id_, generation, Phase.ABSENT)
        if id_ in self.failing and not (body.get("going") or {}).get("left"):
            return Report(noun, id_, generation, Phase.FAILED, reason=self.failing[id_])
        self.things[key] = body
        ready = Report(noun, id_, generation, Phase.READY)
        match noun:
            case Noun.SERVER:
                wish = msgspec.convert(body, ServerWish)
                if wish.coming is not None:
                    return self._expect(ready, wish, wish.coming)
                if wish.going is not None:
                    return self._send(ready, wish, wish.going)
                if self.powers.get(id_, wish.power) is Power.ON:
                    self.running.add(id_)
                else:
                    self.running.discard(id_)
                return msgspec.structs.replace(
                    ready,
                    power=self.powers.get(id_, wish.power),
                    reboots=wish.reboots,
                    attached=[attachment.volume_id for attachment in wish.attachments],
                    backend="" if wish.root_volume_id else self.root_backend,
                    stages=self.stages,
                )
            case Noun.VOLUME:
                return msgspec.structs.replace(ready, size_gb=body["size_gb"], backend=body["backend"])
            case Noun.UPLOAD:
                volume = self.things[Noun.VOLUME, body["volume_id"]]
                return msgspec.structs.replace(ready, size_gb=volume["size_gb"])
            case Noun.ASK:
                return msgspec.structs.replace(ready, answer=self.answer(body))
            case _:
                return ready

    def _expect(self, ready: Report, wish: ServerWish, coming: ComingWish) -> Report:
        """A server is to come."""
        here = coming.migration_id in self.arrived
        if here and not coming.cold:
            return self._moved(ready, wish, coming.migration_id, MigrationState.MIGRATED, Power.ON)
        if coming.closed:
            return self._moved(ready, wish, coming.migration_id, MigrationState.FAILED)
        report = self._moved(ready, wish, coming.migration_id, MigrationState.RUNNING)
        return msgspec.structs.replace(report, landing=self.name)

    def _send(self, ready: Report, wish: ServerWish, going: GoingWish) -> Report:
        """A server is to leave."""
        if going.left:
            self.running.discard(wish.id)
            self.things.pop((Noun.SERVER, wish.id), None)
            return self._moved(ready, wish, going.migration_id, MigrationState.MIGRATED)
        if going.cold:
            self.running.discard(wish.id)
            report = self._moved(ready, wish, going.migration_id, MigrationState.RUNNING, Power.OFF)
            return msgspec.structs.replace(report, offer=self.name)
        state = self.tried.get(going.migration_id) or self.sending.get(wish.id, MigrationState.MIGRATED)
        if state is MigrationState.RUNNING and (going.force or going.abort):
            state = MigrationState.MIGRATED if going.force else MigrationState.CANCELLED
        if going.migration_id not in self.tried and state is not MigrationState.RUNNING:
            self.tried[going.migration_id] = state
            if state is MigrationState.MIGRATED:
                self.running.discard(wish.id)
                self.neighbours[going.landing].welcome(wish.id, going.migration_id)
        power = Power.UNKNOWN if state is MigrationState.MIGRATED else wish.power
        report = self._moved(ready, wish, going.migration_id, state, power)
        assert report.migration is not None, "it is about one"
        moved = msgspec.structs.replace(report.migration, memory_total=100, memory_processed=60, memory_remaining=40)
        return msgspec.structs.replace(report, migration=moved)

    def _moved(
        self, ready: Report, wish: ServerWish, id_: str, state: MigrationState, power: Power = Power.UNKNOWN
    ) -> Report:
        return msgspec.structs.replace(ready, power=power, reboots=wish.reboots, migration=MigrationReport(id_, state))

    def welcome(self, server_id: str, migration_id: str) -> None:
        """A server has come from a neighbour."""
        self.arrived.add(migration_id)
        self.running.add(server_id)
        key = (Noun.SERVER, server_id)
        if key in self.known and key not in self.wished:
            self.wished[key] = self.known[key]

    async def sync(self) -> int:
        """Read and report once; how many wishes and reports there were."""
        return await self.read_wishes() + await self.report()

    def restart(self) -> None:
        """The agent has died and comes back: it knows nothing of the feed, what it made is still there."""
        self.incarnation = str(int(self.incarnation) + 1)
        self.revision = 0
        self.wished.clear()


async def add_host(cloud: TestCloud, name: str = "host-a", **inventory: Any) -> SimHost:
    """A registered host."""
    host = SimHost(cloud.as_agent, name)
    await host.register(**inventory)
    return host


def meet(*hosts: SimHost) -> None:
    """Let hosts send each other servers."""
    for host in hosts:
        host.neighbours = {other.name: other for other in hosts if other is not host}


def find_twins(*hosts: SimHost) -> set[str]:
    """Servers that run on more than one host: there must never be any."""
    seen: set[str] = set()
    twins: set[str] = set()
    for host in hosts:
        twins |= seen & host.running
        seen |= host.running
    return twins


async def converge(cloud: TestCloud, *hosts: SimHost, rounds_most: int = 50) -> None:
    """Let hosts and sagas work until nothing is left to do."""
    for _ in range(rounds_most):
        done = await cloud.sagas.step()
        for host in hosts:
            done += await host.sync()
            assert not find_twins(*hosts), "servers run twice"
        if not done:
            return
    raise AssertionError("hosts and sagas do not come to rest")
