"""Object load over the Swift API, the same for every server: wrk for small objects, threads on bare sockets for large ones.

Every object that is put is another one, or a store that keeps equal bytes once would be measured at doing nothing.
"""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

from bench.api.client import Client, Failed, wrk

MIB = 1 << 20
WRK_MOST_BYTES = 4 * MIB
KEPT = 100
"""Small objects that GET goes round."""

_PUT = """
local file = io.open(%(file)s, "rb"); local body = file:read("*a"):sub(17); file:close()
local number = 0
request = function()
  number = number + 1
  return wrk.format("PUT", %(path)s .. number, nil, string.format("%%s%%08d", %(mark)s, number) .. body)
end
"""
_GET = """
local number = 0
request = function() number = (number + 37) %% %(kept)d; return wrk.format("GET", %(path)s .. number) end
"""


class Objects:
    """One server's account, and objects of one size in it."""

    def __init__(self, client: Client, size_bytes: int) -> None:
        self._client = client
        self.size_bytes = size_bytes
        self._box = f"/bench{size_bytes}"
        self._rounds = 0
        self._must("PUT", self._box)

    def _must(self, method: str, path: str, body: bytes | None = None) -> bytes:
        status, data, _headers = self._client.send(method, path, body)
        if status >= 300:
            raise Failed(f"{method} {path}: {status} {data[:300]!r}")
        return data

    def prepare(self) -> None:
        """Put what GET reads, and see that it comes back as it was."""
        if self.size_bytes > WRK_MOST_BYTES:
            return
        for number in range(KEPT):
            body = os.urandom(self.size_bytes)
            self._must("PUT", f"{self._box}/kept{number}", body)
            if self._must("GET", f"{self._box}/kept{number}") != body:
                raise Failed("it came back changed")

    def put(self, connections: int, seconds: int, data: bytes) -> float:
        """PUT new objects for so long; how many a second."""
        self._rounds += 1
        mark = f"{self._rounds:08d}"
        if self.size_bytes > WRK_MOST_BYTES:
            return self._large(connections, lambda number: self._put_large(f"c{connections}-{number}", data))
        base = urlsplit(self._client.base).path
        path = json.dumps(f"{base}{self._box}/{mark}-")
        file = f"/tmp/ostro-bench-{os.getpid()}.body"
        with open(file, "wb") as out:
            out.write(data[: self.size_bytes])
        try:
            script = _PUT % {"file": json.dumps(file), "path": path, "mark": json.dumps(mark)}
            return wrk(self._client, "", connections=connections, seconds=seconds, script=script).rate
        finally:
            os.unlink(file)

    def get(self, connections: int, seconds: int) -> float:
        """GET objects that are there, for so long; how many a second."""
        if self.size_bytes > WRK_MOST_BYTES:
            return self._large(connections, lambda number: self._get_large(f"c{connections}-{number}"))
        base = urlsplit(self._client.base).path
        script = _GET % {"kept": KEPT, "path": json.dumps(f"{base}{self._box}/kept")}
        return wrk(self._client, "", connections=connections, seconds=seconds, script=script).rate

    def _large(self, width: int, work: Callable[[int], None]) -> float:
        """Large objects, two for each of ``width`` threads but at least four; how many a second."""
        numbers: Iterator[int] = iter(range(max(4, width)))
        count, lock, errors = max(4, width), threading.Lock(), list[BaseException]()

        def run() -> None:
            while not errors:
                with lock:
                    number = next(numbers, None)
                if number is None:
                    return
                try:
                    work(number)
                except Exception as error:  # noqa: BLE001 - it is raised again below
                    errors.append(error)

        threads = [threading.Thread(target=run) for _ in range(width)]
        started_s = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]
        return count / (time.perf_counter() - started_s)

    def _open(self, method: str, name: str, headers: str = "") -> socket.socket:
        url = urlsplit(self._client.base)
        connection = socket.create_connection((url.hostname, url.port), timeout=120)
        own = "".join(f"{key}: {value}\r\n" for key, value in self._client.headers.items())
        head = (
            f"{method} {url.path}{self._box}/{name} HTTP/1.1\r\nHost: bench\r\n{own}{headers}Connection: close\r\n\r\n"
        )
        connection.sendall(head.encode())
        return connection

    def _put_large(self, name: str, data: bytes) -> None:
        mark = f"{self._rounds:08d}{name:>16}".encode()
        with self._open("PUT", name, f"Content-Length: {self.size_bytes}\r\n") as connection:
            for start in range(0, self.size_bytes, MIB):
                connection.sendall(mark + start.to_bytes(8, "big"))
                connection.sendall(memoryview(data)[32:MIB])
            answer = connection.recv(65536)
        if b" 201 " not in answer[:20]:
            raise Failed(f"PUT {name}: {answer[:300]!r}")

    def _get_large(self, name: str) -> None:
        room, got = bytearray(MIB), 0
        with self._open("GET", name) as connection:
            while length := connection.recv_into(room):
                if not got and b" 200 " not in room[:20]:
                    raise Failed(f"GET {name}: {bytes(room[:300])!r}")
                got += length
        if got < self.size_bytes:
            raise Failed(f"GET {name} brought {got} bytes")
