"""The host's certificate and key, as `ostro join` left them in its state directory; renewed in good time by the agent.

::

    authority.pem        the authority's certificate: whom this host trusts
    identity.pem         the host's key and certificate, in one file so that they always fit each other
    pki/                 the same as libvirt wants them, for migrations between hosts: cacert.pem, {client,server}cert.pem and
                         {client,server}key.pem, and below qemu/ for QEMU: ca-cert.pem, {client,server}-cert.pem and {client,server}-key.pem

A key never leaves the host. A renewal makes a new one; connections that are open go on with the old certificate, new ones show the new one.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import structlog
import trio

from ostro.model.errors import OstroError, Unavailable
from ostro.runtime.certificates import Key, key_pem, lifetime_us, make_request, new_key, serves_libvirt
from ostro.runtime.world import World

log = structlog.get_logger()

END_OF_KEY = "-----END PRIVATE KEY-----\n"
LOOK_MOST_S = 3600.0
LOOK_LEAST_S = 1.0


class Identity:
    """See the module's docstring."""

    def __init__(self, state_dir: Path, name: str) -> None:
        self.name = name
        self._state_dir = state_dir
        self._context: ssl.SSLContext | None = None
        self._server_context: ssl.SSLContext | None = None

    @property
    def is_there(self) -> bool:
        """Whether this host has joined a cloud."""
        return self._identity.exists()

    @property
    def authority_pem(self) -> str:
        """The certificate of the authority of the cloud that it has joined."""
        return self._authority.read_text()

    @property
    def pki(self) -> Path:
        """Where libvirt finds certificates and keys."""
        return self._state_dir / "pki"

    def context(self) -> ssl.SSLContext:
        """What a client of the control plane needs. Raises Unavailable when the files can't be used."""
        if self._context is None:
            try:
                context = ssl.create_default_context(cafile=str(self._authority))
                context.load_cert_chain(self._identity)
            except (OSError, ssl.SSLError) as error:
                raise Unavailable(f"{self._identity} can't be used.", detail=str(error)) from error
            self._context = context
        return self._context

    def server_context(self) -> ssl.SSLContext:
        """What serves other hosts, each of which must show a certificate of the same authority. Raises Unavailable as `context` does."""
        if self._server_context is None:
            try:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.minimum_version = ssl.TLSVersion.TLSv1_3
                context.verify_mode = ssl.CERT_REQUIRED
                context.load_verify_locations(self._authority)
                context.load_cert_chain(self._identity)
            except (OSError, ssl.SSLError) as error:
                raise Unavailable(f"{self._identity} can't be used.", detail=str(error)) from error
            self._server_context = context
        return self._server_context

    def keep(self, key: Key, cert_pem: str, authority_pem: str = "") -> None:
        """From now on this is the identity. After a crash it is the old or the new one, whole."""
        authority_pem = authority_pem or self._authority.read_text()
        write_private(self._authority, authority_pem)
        write_private(self._identity, key_pem(key) + cert_pem)
        self._context = self._server_context = None
        self.lay_out()

    def lay_out(self) -> bool:
        """Put the identity where libvirt and QEMU want it, from which they read it whenever they need it; whether they can use it. Idempotent."""
        private, end, cert_pem = self._identity.read_text().partition(END_OF_KEY)
        for folder, authority, joint in ((self.pki, "cacert", ""), (self.pki / "qemu", "ca-cert", "-")):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            write_private(folder / f"{authority}.pem", self._authority.read_text())
            for side in ("client", "server"):
                write_private(folder / f"{side}{joint}cert.pem", cert_pem)
                write_private(folder / f"{side}{joint}key.pem", private + end)
        return serves_libvirt(cert_pem)

    def renew_in_s(self, now_us: int) -> float:
        """How long until two thirds of the certificate's time are over."""
        made_us, ends_us = lifetime_us(self._identity.read_text().partition(END_OF_KEY)[2])
        return (made_us + (ends_us - made_us) * 2 / 3 - now_us) / 1_000_000

    @property
    def _identity(self) -> Path:
        return self._state_dir / "identity.pem"

    @property
    def _authority(self) -> Path:
        return self._state_dir / "authority.pem"


async def keep_renewed(
    world: World,
    identity: Identity,
    ask: Callable[[str], Awaitable[str]],
    renewed: Callable[[], Awaitable[None]],
) -> None:
    """Renew the certificate whenever its time comes, for ever. ``ask`` gets a request and answers the certificate; ``renewed`` is called after."""
    loop = world.metrics.loop("certificate")
    while True:
        left_s = identity.renew_in_s(world.now_us())
        if left_s <= 0:
            try:
                with loop.run():
                    key = new_key()
                    identity.keep(key, await ask(make_request(key, identity.name)))
                    log.info("the host's certificate is renewed")
                    await renewed()
            except (OstroError, OSError) as error:
                log.warning("the host's certificate can't be renewed yet", reason=str(error))
            left_s = LOOK_LEAST_S
        await trio.sleep(min(max(left_s, LOOK_LEAST_S), LOOK_MOST_S))


def write_private(path: Path, text: str) -> None:
    """Put a secret at ``path``: whole or not at all, and for its owner only."""
    draft = path.with_name(path.name + ".new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
