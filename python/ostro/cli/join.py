"""``ostro join``: make this machine a host of a cloud. Its key is made here and never leaves."""

from __future__ import annotations

import os
import socket
import ssl
import tomllib
from pathlib import Path

import click
import msgspec
import orjson
import trio

from ostro.agent.http_client import HttpClient
from ostro.agent.identity import Identity, write_private
from ostro.cli.ceph import ceph_options
from ostro.cli.physical import physical_option, physical_words
from ostro.cli.settings import toml_line
from ostro.cli.state import StateDir, Usage, write_atomic
from ostro.cli.up import DEFAULT_STATE
from ostro.model.errors import Unavailable
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.certificates import (
    CONTROLLER_NAME,
    Key,
    check_host_name,
    fingerprint,
    key_pem,
    make_request,
    new_key,
    read_key,
    same_host_name,
)
from ostro.runtime.log import configure_logging

FILE = "agent.toml"
PREFIX = "/join/v1"
TIMEOUT_S = 30.0
TEMPLATE = """\
# Written by `ostro join`, for `ostro agent`.

# Where the control plane answers; the agent learns of further ones by itself.
{urls}

# What this host is called. Its certificate says so, too.
{name}

# libvirt, or fake for rehearsal without machines.
{hypervisor}

# Whether to use the libvirtd and Open vSwitch that the system runs, where it does.
{use_system_parts}

# NAME=DEVICE: which link device or bridge leads to each physical network.
{physical}
"""


class Joined(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``agent.toml``; see the template."""

    urls: list[str]
    name: str
    hypervisor: str = "libvirt"
    use_system_parts: bool = True
    physical: list[str] = []


def read_joined(state: StateDir) -> Joined:
    """What `ostro join` wrote. Raises Usage."""
    path = state.root / FILE
    try:
        return msgspec.convert(tomllib.loads(path.read_text()), Joined)
    except FileNotFoundError as error:
        raise Usage(f"This host has not joined a cloud: there is no {path}. Run `ostro join`.") from error
    except (OSError, tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise Usage(f"{path} can't be read: {error}") from error


class Joining:
    """One attempt to join; it may be repeated with the same token as often as it takes."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/") + PREFIX
        self._secret, _, self._fingerprint = token.partition(".")
        if not self._secret or not self._fingerprint or not url.startswith("https://"):
            raise Usage(
                "ostro join needs https://CONTROLLER:PORT and the whole token that `ostro token create` printed."
            )
        self.authority_pem = ""

    async def find_authority(self) -> None:
        """Get the authority's certificate, and make sure that it is the one that the token speaks of. The token isn't shown."""
        anyone = ssl.create_default_context()
        anyone.check_hostname = False
        anyone.verify_mode = ssl.CERT_NONE
        found = await self._exchange("GET", "/authority", {}, anyone)
        pem = str(found["certificate"])
        if fingerprint(pem) != self._fingerprint:
            raise Usage(
                f"{self._url} is not of the cloud that the token is of: its authority's fingerprint is another."
            )
        self.authority_pem = pem

    async def ask(self, name: str, key: Key) -> tuple[str, list[str]]:
        """The host's certificate, and where the control plane answers."""
        body = {"token": self._secret, "name": name, "request": make_request(key, name)}
        ours = ssl.create_default_context(cadata=self.authority_pem)
        found = await self._exchange("POST", "/hosts", body, ours)
        return str(found["certificate"]), [str(url) for url in found["urls"]]

    async def _exchange(self, method: str, path: str, body: object, tls: ssl.SSLContext) -> dict[str, list[str] | str]:
        client = HttpClient(self._url, {"Accept": "application/json"}, lambda: tls, CONTROLLER_NAME)
        try:
            with trio.fail_after(TIMEOUT_S):
                answer = await client.exchange(method, path, orjson.dumps(body) if body else b"")
        except (Unavailable, trio.TooSlowError) as error:
            raise Usage(f"{self._url} does not answer: {getattr(error, 'detail', '') or error}") from error
        finally:
            await client.close()
        found = orjson.loads(answer.body) if answer.body else {}
        if answer.status >= 300:
            raise Usage(f"The controller refuses: {found.get('error', {}).get('message', answer.status)}")
        return dict(found)


def keep_key(path: Path) -> Key:
    """The key to join with: made once, so that joining again after a lost answer is the same joining."""
    try:
        return read_key(path.read_text())
    except (FileNotFoundError, ValueError):
        key = new_key()
        write_private(path, key_pem(key))
        return key


def check_same(directory: StateDir, identity: Identity, name: str, authority_pem: str) -> None:
    """Raise Usage when the directory is of a host of another name, or of another cloud: its servers would be nobody's."""
    if not (directory.root / FILE).exists():
        return
    before = read_joined(directory).name
    if not same_host_name(before, name):
        raise Usage(f"{directory.root} is of the host {before}. Give a --state of its own to the host {name}.")
    if identity.is_there and fingerprint(identity.authority_pem) != fingerprint(authority_pem):
        raise Usage(f"{directory.root} is of a host of another cloud. Give a --state of its own to this one.")


@click.command()
@click.argument("url")
@click.argument("token")
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state of this host.")
@click.option("--name", default=socket.gethostname, show_default="the machine's name", help="What the host is called.")
@click.option("--hypervisor", type=click.Choice(["libvirt", "fake"]), default="libvirt", show_default=True)
@click.option("--private-parts", is_flag=True, help="Use a libvirtd and an Open vSwitch of Ostro's own in any case.")
@ceph_options
@physical_option
def join(
    url: str,
    token: str,
    state: str,
    name: str,
    hypervisor: str,
    private_parts: bool,
    ceph: CephConfig | None,
    physical: dict[str, str],
) -> None:
    """Make this machine a host of the cloud whose API is at URL, by a TOKEN of `ostro token create`. Then run `ostro agent`."""
    configure_logging("warning")
    check_host_name(name)
    directory = StateDir.make(state)
    identity = Identity(directory.host, name)
    joining = Joining(url, token)
    draft = directory.host / "joining.key"
    key = keep_key(draft)

    async def run() -> list[str]:
        await joining.find_authority()
        check_same(directory, identity, name, joining.authority_pem)
        certificate, urls = await joining.ask(name, key)
        identity.keep(key, certificate, joining.authority_pem)
        return urls

    urls = trio.run(run)
    if ceph is not None:
        directory.keep_ceph(ceph)
    known = dict.fromkeys([url.rstrip("/"), *urls])
    words = [word for word in physical_words(physical) if word != "--physical"]
    joined = Joined(list(known), name, hypervisor, not private_parts, words)
    lines = {field: toml_line(field, value) for field, value in msgspec.structs.asdict(joined).items()}
    write_atomic(directory.root / FILE, TEMPLATE.format(**lines).encode())
    os.unlink(draft)
    click.echo(f"Host {name} has joined. Run `ostro agent --state {directory.root}`.", err=True)
