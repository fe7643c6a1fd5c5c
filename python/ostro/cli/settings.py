"""``ostro.toml``: the settings of a cloud whose parts run by themselves. One file; a copy of it makes another machine a controller, too."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import orjson

from ostro.cli.state import StateDir, Usage, write_atomic
from ostro.runtime.ceph.config import DEFAULT_USER, CephConfig, Pools

FILE = "ostro.toml"
CERTIFICATE_LEAST_S = 60.0
"""Renewing is tried each second when its time has come."""
TEMPLATE = """\
# The settings of this cloud. To make another machine a controller: copy this file there and start `ostro api` and `ostro controller`.

# The store. Every process of the control plane uses the same.
{database}

# Seals what is secret in the store. Who has this and the store has everything: keep it from others, and keep a copy of it somewhere safe.
{secret}

# Where `ostro api` listens, HOST:PORT.
{listen}

# The address at which this machine's API is reached from others, https://HOST:PORT. Empty: found out from where it listens and the machine's name.
{advertise}

# Further names and addresses that the API's certificate shall be good for.
{names}

# What clients are told as the API's address, such as that of a load balancer. Empty: the one that they used.
{public_url}

{region}

# After so many seconds without contact a host pauses its servers on disks that hosts share, so that they can be started elsewhere. 0: never.
{fence_s}

# How long a host's certificate is good for, in seconds. Hosts renew it by themselves when two thirds of that are over.
{certificate_s}

# A ceph.conf: images, objects, disks and volumes are kept in that Ceph. Empty: images and objects are files below `files`, which all API processes
# and controllers then must share, by a file system that has flock, and disks are files of the hosts.
{ceph_conf}
{ceph_user}
{ceph_pools}

# Where files are kept. Empty: beside this file.
{files}
"""


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """See the template, where each is explained."""

    database: str
    secret: str
    listen: str = "0.0.0.0:8774"
    advertise: str = ""
    names: list[str] = []
    public_url: str = ""
    region: str = "RegionOne"
    fence_s: float = 60.0
    certificate_s: Annotated[float, msgspec.Meta(ge=CERTIFICATE_LEAST_S)] = 30 * 86_400.0
    ceph_conf: str = ""
    ceph_user: str = DEFAULT_USER
    ceph_pools: str = str(Pools())
    files: str = ""

    @property
    def ceph(self) -> CephConfig | None:
        """Which Ceph, if any."""
        if not self.ceph_conf:
            return None
        return CephConfig(Path(self.ceph_conf).absolute(), self.ceph_user, Pools.parse(self.ceph_pools))


def settings_path(state: StateDir) -> Path:
    """Where the settings are."""
    return state.root / FILE


def read_settings(state: StateDir) -> Settings:
    """The settings. Raises Usage with what is wrong with them."""
    path = settings_path(state)
    if not path.exists():
        raise Usage(f"There is no {path}. `ostro init` makes it, or copy it from another controller.")
    return _parse(path, {})


def _parse(path: Path, defaults: Mapping[str, str]) -> Settings:
    try:
        return msgspec.convert({**defaults, **tomllib.loads(path.read_text())}, Settings)
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Usage(f"{path} can't be read: {error}") from error


def read_ceph(state: StateDir) -> CephConfig | None:
    """The Ceph that the settings name, which need say nothing else; None where they name none, or there are none. Raises Usage."""
    path = settings_path(state)
    if not path.exists():
        return None
    ceph = _parse(path, {"database": "", "secret": ""}).ceph
    if ceph is not None and not ceph.conf.exists():
        raise Usage(f"{path} names {ceph.conf}, which is not there.")
    return ceph


def write_settings(state: StateDir, settings: Settings) -> None:
    """Write the settings with their comments, readable by their owner only."""
    lines = {name: toml_line(name, value) for name, value in msgspec.structs.asdict(settings).items()}
    write_atomic(settings_path(state), TEMPLATE.format(**lines).encode(), mode=0o600)


def toml_line(name: str, value: str | float | list[str]) -> str:
    """One setting as a line. Texts, numbers and lists of them are written in TOML as in JSON."""
    return f"{name} = {orjson.dumps(value).decode()}"


@dataclass(frozen=True)
class Address:
    """Where an API process is reached: its ``url`` for hosts and clients, and the ``names`` for its certificate."""

    url: str
    names: list[str] = field(default_factory=list)


def address_of(settings: Settings, listener: socket.socket) -> Address:
    """Where the process that listens there is reached."""
    host, port = listener.getsockname()[:2]
    name = socket.gethostname()
    names = [*settings.names, name, socket.getfqdn(), "localhost", "127.0.0.1", "::1"]
    if host in ("0.0.0.0", "::"):
        host = own_address()
    names.append(host)
    found = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    url = settings.advertise or found
    names.append(urlsplit(url).hostname or "")
    return Address(url, [kept for kept in dict.fromkeys(names) if kept])


def own_address() -> str:
    """An address of this machine that others are likely to reach: the one from which it would talk to the Internet. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
            return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"
