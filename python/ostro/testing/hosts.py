"""Simulated hosts: they speak the agent API in process and do everything that is wished, at once or when a test lets them.

``sync`` is one round: read the feed, do it, report. A host can be told to hold back a noun (``held``), to fail certain objects (``failing``),
or to change a server behind everybody's back (``powers``). ``things`` is what the host has, so a test can see what was left behind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ostro.model.wishes import Noun, Phase, Power, Report, ServerWish, Stage
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
    stages: list[Stage] = field(default_factory=list)
    """Told with every report of a server that is ready."""
    answer: Callable[[Any], str] = lambda _ask: "console"

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
        reports = [self._carry_out(key, *self.wished.pop(key)) for key in due]
        if reports:
            body = {"reports": [msgspec.to_builtins(r) for r in reports]}
            answer = await self.client.post(f"{self._path}/reports", body)
            assert answer.status == 200, answer.body
        return len(reports)

    def _carry_out(self, key: Key, generation: int, body: Any) -> Report:
        noun, id_ = key
        if body is None:
            self.things.pop(key, None)
            return Report(noun, id_, generation, Phase.ABSENT)
        if id_ in self.failing:
            return Report(noun, id_, generation, Phase.FAILED, reason=self.failing[id_])
        self.things[key] = body
        ready = Report(noun, id_, generation, Phase.READY)
        match noun:
            case Noun.SERVER:
                wish = msgspec.convert(body, ServerWish)
                return msgspec.structs.replace(
                    ready,
                    power=self.powers.get(id_, wish.power),
                    reboots=wish.reboots,
                    attached=[attachment.volume_id for attachment in wish.attachments],
                    stages=self.stages,
                )
            case Noun.VOLUME:
                return msgspec.structs.replace(ready, size_gb=body["size_gb"], backend=body["backend"])
            case Noun.ASK:
                return msgspec.structs.replace(ready, answer=self.answer(body))
            case _:
                return ready

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


async def converge(cloud: TestCloud, *hosts: SimHost, rounds_most: int = 50) -> None:
    """Let hosts and sagas work until nothing is left to do."""
    for _ in range(rounds_most):
        done = await cloud.sagas.step()
        for host in hosts:
            done += await host.sync()
        if not done:
            return
    raise AssertionError("hosts and sagas do not come to rest")
