"""The application on Quart-Trio, and serving it.

``make_app`` puts the gate behind one catch-all route. ``serve`` accepts connections: each is answered by the express lane
(``lane.py``) as long as its requests are plain, and by Hypercorn from the first one that isn't.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Sequence

import structlog
import trio
from hypercorn.config import Config
from quart import Response
from quart.globals import request_ctx
from quart_trio import QuartTrio
from werkzeug.routing import BaseConverter

from ostro.http.connection import install
from ostro.http.exchange import Outgoing
from ostro.http.gate import Gate
from ostro.http.lane import Lane

log = structlog.get_logger()

HEADERS_MOST_BYTES = 65_536
KEEP_ALIVE_S = 75
BACKLOG = 1024
ACCEPTED_MOST = 32
ACCEPT_AGAIN_S = 0.1
GONE = frozenset(
    (
        errno.ECONNABORTED,
        errno.EPERM,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENOPROTOOPT,
        errno.EHOSTDOWN,
        errno.ENONET,
        errno.EHOSTUNREACH,
        errno.EOPNOTSUPP,
        errno.ENETUNREACH,
        errno.ETIMEDOUT,
    )
)
"""What accept(2) says of a connection that failed before it was accepted."""
NO_ROOM = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS))
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "COPY"]


class AnyConverter(BaseConverter):
    """The whole path, slashes included."""

    regex = ".*"
    part_isolating = False


def make_app(gate: Gate) -> QuartTrio:
    """The application."""
    app = QuartTrio("ostro", static_folder=None)
    install(app)
    app.config["MAX_CONTENT_LENGTH"] = None
    app.config["BODY_TIMEOUT"] = None
    app.config["RESPONSE_TIMEOUT"] = None
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.url_map.converters["any"] = AnyConverter

    async def answer(path: str) -> Response:
        raw = request_ctx.request  # Not its proxy, which is of no use to an answer that is still being sent.
        return to_response(await gate.answer(raw, gate.find(raw.path)))  # type: ignore[arg-type]

    app.add_url_rule("/<any:path>", endpoint="any", view_func=answer, methods=METHODS, provide_automatic_options=False)
    return app


def to_response(answer: Outgoing) -> Response:
    """An answer as Quart's."""
    response = Response(answer.body, status=answer.status)
    response.headers.remove("Content-Type")
    if not isinstance(answer.body, bytes):
        response.timeout = None
    for name in {name.lower() for name, _ in answer.headers}:
        response.headers.remove(name)
    for name, value in answer.headers:
        response.headers.add(name, value)
    return response


def hypercorn_config(binds: Sequence[str]) -> Config:
    """Hypercorn's settings."""
    config = Config()
    config.bind = list(binds)
    config.h11_max_incomplete_size = HEADERS_MOST_BYTES
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.backlog = BACKLOG
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = None
    return config


async def serve(
    gate: Gate,
    binds: Sequence[str],
    tls: ssl.SSLContext | None = None,
    *,
    task_status: trio.TaskStatus[list[str]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled, by TLS if there is a context for it. Starts with the addresses that it listens on."""
    config = hypercorn_config(binds)
    socks = config.create_sockets().insecure_sockets
    for sock in socks:
        sock.listen(BACKLOG)
        sock.setblocking(False)
    lane = Lane(gate, make_app(gate), config, tls)
    async with trio.open_nursery() as nursery:
        for sock in socks:
            nursery.start_soon(_accept, sock, lane, nursery)
        names = [sock.getsockname() for sock in socks]
        scheme = "http" if tls is None else "https"
        task_status.started(
            [f"{scheme}://{name[0]}:{name[1]}" if isinstance(name, tuple) else str(name) for name in names]
        )


async def _accept(listening: socket.socket, lane: Lane, nursery: trio.Nursery) -> None:
    """Accept connections until cancelled, several in a round of the loop: by one in a round a crowd would keep newcomers waiting for seconds."""
    with listening:
        while True:
            await trio.lowlevel.wait_readable(listening)
            for _ in range(ACCEPTED_MOST):
                try:
                    sock, _address = listening.accept()
                except BlockingIOError:
                    break
                except OSError as error:
                    if error.errno in NO_ROOM:
                        log.warning("no room for more connections", error=str(error))
                        await trio.sleep(ACCEPT_AGAIN_S)
                    elif error.errno not in GONE:
                        raise
                    break
                nursery.start_soon(lane.serve, trio.SocketStream(trio.socket.from_stdlib_socket(sock)))
