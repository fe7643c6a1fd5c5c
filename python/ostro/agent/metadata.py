"""The metadata service: what a guest may read of itself at http://169.254.169.254.

The network driver brings a guest's request to an address that only this host can reach, from an alias that stands for the port
that sent it (see `ostro.agent.drivers.network`). So the source address alone says who asks; nothing in the request is believed,
and a guest can read of no server but its own, whatever addresses its tenant uses.

Two dialects, as cloud-init and its like expect them: EC2's (``/latest/meta-data/...``, one value a page, a listing for each directory)
and OpenStack's (``/openstack/latest/meta_data.json`` and others). The documents are made from the wishes at each
request (`metadata_pages`), so that they can't be stale. Answers close the connection; guests ask some thirty times at boot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import h11
import structlog
import trio

from ostro.agent import metadata_pages
from ostro.agent.drivers.network import Network
from ostro.agent.metadata_pages import Guest
from ostro.agent.mirror import Mirror
from ostro.model.errors import OstroError
from ostro.model.wishes import NetworkWish, Noun, PortWish, ServerWish
from ostro.runtime.world import World

log = structlog.get_logger()

REQUEST_S = 15.0
"""From connection to answer sent. A guest on an emulated CPU takes a second for a request."""
HEAD_MOST_BYTES = 16_384
CONNECTIONS_MOST = 256
CONNECTIONS_MOST_PER_GUEST = 8
LISTEN_RETRY_S = 1.0
READ_BYTES = 8_192

FindGuest = Callable[[str], Guest | None]
"""From a port's id to the server that it belongs to, with all that its metadata tells; None if it belongs to none."""


def guest_of(mirror: Mirror, port_id: str) -> Guest | None:
    """The server that a port belongs to, as wished, or None. That the port names the server is not enough: whose port it is may
    write there what they like, so the server must name the port."""
    port = mirror.find(Noun.PORT, port_id)
    server = mirror.find(Noun.SERVER, port.body(PortWish).server_id) if port and not port.absent else None
    if server is None or server.absent:
        return None
    wish = server.body(ServerWish)
    if port_id not in wish.ports:
        return None
    found = [mirror.find(Noun.PORT, id_) for id_ in wish.ports]
    ports = [held.body(PortWish) for held in found if held and not held.absent]
    networks = (mirror.find(Noun.NETWORK, port.network_id) for port in ports)
    bodies = [held.body(NetworkWish) for held in networks if held and not held.absent]
    return Guest(wish, ports, {network.id: network for network in bodies})


class Metadata:
    """The server. ``find_guest`` is asked at each request."""

    def __init__(self, world: World, network: Network, find_guest: FindGuest) -> None:
        self._world = world
        self._network = network
        self._find_guest = find_guest
        self._slots = trio.CapacityLimiter(CONNECTIONS_MOST)
        self._busy: dict[str, int] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve for ever, on the address that the driver has for it; started when listening (or with nothing to listen on)."""
        facts = self._network.facts
        if not facts.metadata_address:
            task_status.started()
            return
        listeners = await self._listen(facts.metadata_address, facts.metadata_port)
        task_status.started()
        await trio.serve_listeners(self._serve, listeners)

    async def _listen(self, address: str, port: int) -> list[trio.SocketListener]:
        while True:
            try:
                return await trio.open_tcp_listeners(port, host=address)
            except OSError as error:
                log.error("metadata can't be served yet", address=address, port=port, reason=str(error))
                await trio.sleep(LISTEN_RETRY_S)

    async def _serve(self, stream: trio.SocketStream) -> None:
        try:
            address = str(stream.socket.getpeername()[0])
        except OSError:
            # Reset before it was accepted: nobody knows any more who that was.
            await stream.aclose()
            return
        if self._busy.get(address, 0) >= CONNECTIONS_MOST_PER_GUEST:
            await stream.aclose()
            return
        self._busy[address] = self._busy.get(address, 0) + 1
        try:
            with trio.move_on_after(REQUEST_S):
                async with stream, self._slots:
                    await self._answer(stream, address)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            log.debug("a guest left before its answer", address=address)
        except Exception:
            # Whatever one guest's trouble is, the others must be served: this is the place that catches it.
            log.exception("metadata request failed", address=address)
        finally:
            self._busy[address] -= 1
            if not self._busy[address]:
                del self._busy[address]

    async def _answer(self, stream: trio.SocketStream, address: str) -> None:
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MOST_BYTES)
        try:
            request = await _read_request(stream, connection)
        except h11.RemoteProtocolError as error:
            await _send(stream, connection, error.error_status_hint, b"", "text/plain", head_only=False)
            return
        if request is None:
            return
        method, path = request.method.decode(), request.target.decode("ascii", "replace").partition("?")[0]
        if method not in ("GET", "HEAD"):
            await _send(stream, connection, 405, b"405 Method Not Allowed", "text/plain", head_only=False)
            return
        port_id = self._network.port_at(address)
        try:
            guest = self._find_guest(port_id) if port_id else None
        except OstroError as error:
            log.error("a guest's metadata can't be made", port_id=port_id, reason=error.message)
            await _send(stream, connection, 500, b"500 Internal Server Error", "text/plain", head_only=False)
            return
        page = metadata_pages.page(guest, path, self._world.random) if guest else None
        log.debug("metadata", address=address, port_id=port_id, path=path, found=page is not None)
        if page is None:
            await _send(stream, connection, 404, b"404 Not Found", "text/plain", head_only=method == "HEAD")
        else:
            await _send(stream, connection, 200, page.body, page.content_type, head_only=method == "HEAD")


async def _read_request(stream: trio.SocketStream, connection: h11.Connection) -> h11.Request | None:
    """The request, or None if the guest hangs up before it is whole. What follows its head is not read."""
    while True:
        event = connection.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(READ_BYTES)))
        else:
            return None


async def _send(
    stream: trio.SocketStream, connection: h11.Connection, status: int, body: bytes, content_type: str, head_only: bool
) -> None:
    headers: Mapping[str, str] = {
        "content-type": content_type,
        "content-length": str(len(body)),
        "connection": "close",
    }
    data = connection.send(h11.Response(status_code=status, headers=list(headers.items()))) or b""
    if not head_only:
        data += connection.send(h11.Data(data=body)) or b""
        data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
    await stream.send_eof()
    # A guest that is still sending would get a reset instead of the answer; it closes when it has read it.
    with trio.move_on_after(1.0):
        while await stream.receive_some(READ_BYTES):
            pass
