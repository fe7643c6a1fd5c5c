"""TLS for the API: one port for agents, who show a certificate of the cloud's authority, and for clients, who need none."""

from __future__ import annotations

import ssl
from typing import TypeAlias

import trio

from ostro.http.exchange import Peer
from ostro.http.turns import Turns
from ostro.runtime.certificates import HOSTS

HANDSHAKE_MOST_S = 15.0
"""From the connection to the end of its handshake, waiting for its turn included."""
Tls: TypeAlias = "trio.SSLStream[trio.SocketStream]"


def make_context(authority_pem: str) -> ssl.SSLContext:
    """What a server needs, but for its own certificate. A client's certificate is checked if there is one; a wrong one ends the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_OPTIONAL
    context.load_verify_locations(cadata=authority_pem)
    context.set_alpn_protocols(["http/1.1"])
    return context


async def handshake(stream: trio.SocketStream, context: ssl.SSLContext, turns: Turns, address: str) -> Tls:
    """Speak TLS on the connection of a client at ``address``. Who has said nothing yet takes no turn: it would keep others waiting for it.

    Raises trio.BrokenResourceError, trio.TooSlowError, and TooManyRequests when too many wait for their turn.
    """
    with trio.fail_after(HANDSHAKE_MOST_S):
        await trio.lowlevel.wait_readable(stream.socket)
        if not turns.begin():
            await turns.wait(address)
        tls = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        await tls.do_handshake()
    return tls


def peer_of(stream: Tls) -> Peer | None:
    """The host at the other end, if it has shown its certificate."""
    shown = stream.getpeercert()
    if not shown:
        return None
    names = dict(pair for group in shown["subject"] for pair in group)
    if names.get("organizationName") != HOSTS:
        return None
    return Peer(names["commonName"], f"{int(shown['serialNumber'], 16):x}")
