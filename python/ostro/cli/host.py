"""``ostro host``: the machines of a cloud, as its administrator sees and empties them. By the API, so it runs wherever clouds.yaml is."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import click
import orjson

from ostro.cli.client import ApiError, Client
from ostro.cli.state import StateDir, Usage
from ostro.cli.up import DEFAULT_STATE

P = ParamSpec("P")

COMPUTE = "/compute/v2.1"
VERSION = "2.53"
LIVE = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
LIVE_VERSION = "2.30"
COLD = {"migrate": None}
MOVE_MOST_S = 600.0
LOOK_EVERY_S = 0.5
DRAINING = "drained by ostro host drain"


@dataclass(frozen=True)
class Moved:
    """What became of a server of a host that is drained; ``why_not`` is empty when it has left."""

    id: str
    name: str
    host: str
    why_not: str


class Hosts:
    """The calls that the commands are made of."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def services(self) -> list[dict[str, Any]]:
        """Every host's compute service."""
        found: list[dict[str, Any]] = self._client.call("GET", f"{COMPUTE}/os-services", version=VERSION)["services"]
        return found

    def service(self, name: str) -> dict[str, Any]:
        """One host's. Raises Usage."""
        for found in self.services():
            if found["host"] == name:
                return found
        raise Usage(f"There is no host {name}.")

    def change(self, name: str, **changes: Any) -> dict[str, Any]:
        """Change a host's service; as it is then."""
        path = f"{COMPUTE}/os-services/{self.service(name)['id']}"
        found: dict[str, Any] = self._client.call("PUT", path, changes, version=VERSION)["service"]
        return found

    def show(self, name: str) -> dict[str, Any]:
        """All about one host, its servers included."""
        service = self.service(name)
        hypervisor = self._client.call("GET", f"{COMPUTE}/os-hypervisors/{service['id']}", version=VERSION)[
            "hypervisor"
        ]
        named = ("vcpus", "vcpus_used", "memory_mb", "memory_mb_used", "local_gb", "local_gb_used", "hypervisor_type")
        figures = {name: hypervisor.get(name) for name in (*named, "host_ip")}
        return {**service, **figures, "servers": [server["name"] for server in self.servers(name)]}

    def servers(self, name: str) -> list[dict[str, Any]]:
        """The servers of every project on the host."""
        path = f"{COMPUTE}/servers/detail?all_tenants=1&host={name}"
        found: list[dict[str, Any]] = []
        # The API gives no more than a page at once.
        while page := self._client.call("GET", path, version=VERSION)["servers"]:
            found += page
            path = f"{COMPUTE}/servers/detail?all_tenants=1&host={name}&marker={page[-1]['id']}"
        return found

    def remove(self, name: str) -> None:
        """Forget a host. Raises ApiError while something is on it."""
        self._client.call("DELETE", f"{COMPUTE}/os-services/{self.service(name)['id']}", version=VERSION)

    def drain(self, name: str) -> list[Moved]:
        """Let the host take no new servers, and move those that it has, one after the other."""
        self.change(name, status="disabled", disabled_reason=DRAINING)
        return [self._move(server, name) for server in self.servers(name)]

    def _move(self, server: dict[str, Any], name: str) -> Moved:
        """Move a server: while it runs if it does."""
        id_, title = str(server["id"]), str(server["name"])
        try:
            if server["status"] in ("ACTIVE", "PAUSED"):
                self._act(id_, LIVE, LIVE_VERSION)
            elif server["status"] == "SHUTOFF":
                self._act(id_, COLD, VERSION)
            else:
                return Moved(id_, title, name, f"It is {server['status']}.")
            return self._await_moved(id_, title, name)
        except ApiError as error:
            return Moved(id_, title, name, error.detail or error.message)

    def _await_moved(self, id_: str, title: str, name: str) -> Moved:
        deadline_s = time.monotonic() + MOVE_MOST_S
        while time.monotonic() < deadline_s:
            now = self._client.call("GET", f"{COMPUTE}/servers/{id_}", version=VERSION)["server"]
            host = str(now["OS-EXT-SRV-ATTR:host"])
            if now["status"] == "VERIFY_RESIZE":
                self._act(id_, {"confirmResize": None}, VERSION)
            elif now["OS-EXT-STS:task_state"] is None and now["status"] != "MIGRATING":
                return Moved(id_, title, host, "" if host != name else self._fault_of(id_))
            time.sleep(LOOK_EVERY_S)
        return Moved(id_, title, name, f"It has not moved in {MOVE_MOST_S:g} s.")

    def _fault_of(self, id_: str) -> str:
        """What the server's last action says of why it failed."""
        actions = self._client.call("GET", f"{COMPUTE}/servers/{id_}/os-instance-actions", version=VERSION)
        latest = actions["instanceActions"][0] if actions["instanceActions"] else {}
        return str(latest.get("message") or "Its move has failed.")

    def _act(self, id_: str, action: dict[str, Any], version: str) -> None:
        self._client.call("POST", f"{COMPUTE}/servers/{id_}/action", action, version=version)


def table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> str:
    """Rows for a person to read."""
    lines = [columns, *([_word(row.get(name)) for name in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _word(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)


def with_hosts(act: Callable[Concatenate[Hosts, bool, P], None]) -> Callable[..., None]:
    """Give a command ``--state`` and ``--json``, and the calls."""

    @click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory with clouds.yaml.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(act)
    def wrapped(state: str, as_json: bool, *args: P.args, **kwargs: P.kwargs) -> None:
        act(Hosts(Client(StateDir(Path(state).absolute()))), as_json, *args, **kwargs)

    return wrapped


def _say(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    click.echo(orjson.dumps(rows, option=orjson.OPT_INDENT_2).decode() if as_json else table(rows, columns))


SERVICE_COLUMNS = ("host", "state", "status", "forced_down", "disabled_reason", "updated_at")


@click.group()
def host() -> None:
    """The machines that servers run on."""


@host.command("list")
@with_hosts
def list_(hosts: Hosts, as_json: bool) -> None:
    """List hosts."""
    _say(hosts.services(), SERVICE_COLUMNS, as_json)


@host.command()
@click.argument("name")
@with_hosts
def show(hosts: Hosts, as_json: bool, name: str) -> None:
    """Show a host and the servers on it."""
    found = hosts.show(name)
    rows = [{"what": key, "value": value} for key, value in found.items()]
    click.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() if as_json else table(rows, ("what", "value")))


@host.command()
@click.argument("name")
@with_hosts
def enable(hosts: Hosts, as_json: bool, name: str) -> None:
    """Let a host take new servers."""
    _say([hosts.change(name, status="enabled", forced_down=False)], SERVICE_COLUMNS, as_json)


@host.command()
@click.argument("name")
@click.option("--reason", default="")
@with_hosts
def disable(hosts: Hosts, as_json: bool, name: str, reason: str) -> None:
    """Let a host take no new servers. Those on it stay."""
    more = {"disabled_reason": reason} if reason else {}
    _say([hosts.change(name, status="disabled", **more)], SERVICE_COLUMNS, as_json)


@host.command("force-down")
@click.argument("name")
@with_hosts
def force_down(hosts: Hosts, as_json: bool, name: str) -> None:
    """Declare a host dead, so that its servers can be evacuated. When it comes back it first gives up what it has lost."""
    _say([hosts.change(name, forced_down=True)], SERVICE_COLUMNS, as_json)


@host.command()
@click.argument("name")
@click.option("--reason", default="maintenance", show_default=True)
@with_hosts
def maintenance(hosts: Hosts, as_json: bool, name: str, reason: str) -> None:
    """Empty a host for work on it: as drain, and fails unless nothing is left on it."""
    _drain(hosts, as_json, name)
    hosts.change(name, status="disabled", disabled_reason=reason)


@host.command()
@click.argument("name")
@with_hosts
def drain(hosts: Hosts, as_json: bool, name: str) -> None:
    """Let a host take no new servers and move those on it away, or say of each why not."""
    _drain(hosts, as_json, name)


def _drain(hosts: Hosts, as_json: bool, name: str) -> None:
    moved = hosts.drain(name)
    rows = [{"server": m.name, "id": m.id, "host": m.host, "why not": m.why_not} for m in moved]
    _say(rows, ("server", "id", "host", "why not"), as_json)
    left = [m for m in moved if m.why_not]
    if left:
        raise Usage(f"{len(left)} of {len(moved)} servers are still on {name}. It takes no new ones.")


@host.command()
@click.argument("name")
@with_hosts
def remove(hosts: Hosts, as_json: bool, name: str) -> None:
    """Forget a host that nothing is on, and refuse it from now on."""
    try:
        hosts.remove(name)
    except ApiError as error:
        raise Usage(f"{name} is not removed: {error.detail}") from error
    _say([{"host": name, "removed": True}], ("host", "removed"), as_json)
