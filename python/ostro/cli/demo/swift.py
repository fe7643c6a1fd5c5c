"""A small Swift client for the demonstration's bulk work, where starting the ``openstack`` command for every request would be all there is to see."""

from __future__ import annotations

import hashlib
import http.client
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass

from ostro.cli.demo.runner import StepFailed

TIMEOUT_S = 120.0
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Swift:
    """An account. One connection a request; every method blocks."""

    url: str
    token: str

    def _request(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> http.client.HTTPResponse:
        split = urllib.parse.urlsplit(self.url)
        connection = http.client.HTTPConnection(
            split.hostname or "", split.port, timeout=TIMEOUT_S, blocksize=BLOCK_BYTES
        )
        sent = {"X-Auth-Token": self.token, **(headers or {})}
        connection.request(method, f"{split.path}/{path}", body, sent)  # type: ignore[arg-type]  # any iterable of bytes
        return connection.getresponse()

    def status(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> int:
        """The status of a request whose answer is thrown away."""
        response = self._request(method, path, body, headers)
        response.read()
        return response.status

    def put(self, path: str, data: Iterator[bytes], length: int) -> str:
        """Store an object from a stream; its ETag."""
        response = self._request("PUT", path, data, {"Content-Length": str(length)})
        words = response.read()
        if response.status != 201:
            raise StepFailed(f"PUT {path}: {response.status} {words[:300]!r}")
        return response.headers["Etag"].strip('"')

    def md5(self, path: str, first: int = 0, last: int | None = None) -> tuple[str, int]:
        """MD5 and length of an object, or of a range of it, read as a stream."""
        headers = {} if last is None else {"Range": f"bytes={first}-{last}"}
        response = self._request("GET", path, headers=headers)
        if response.status not in (200, 206):
            raise StepFailed(f"GET {path}: {response.status} {response.read()[:300]!r}")
        digest, length = hashlib.md5(usedforsecurity=False), 0
        while data := response.read(BLOCK_BYTES):
            digest.update(data)
            length += len(data)
        return digest.hexdigest(), length


def noise(seed: str, length: int) -> Iterator[bytes]:
    """So many bytes that follow from the seed and repeat nowhere."""
    stream = hashlib.shake_256(seed.encode())
    block = stream.digest(BLOCK_BYTES)
    for start in range(0, length, BLOCK_BYTES):
        # A counter in front makes every block another one, at the cost of a copy and not of a digest.
        yield (start.to_bytes(8, "big") + block[8:])[: length - start]


def md5_of(seed: str, length: int, first: int = 0, last: int | None = None) -> str:
    """The MD5 of ``noise``, or of a range of it."""
    digest, at = hashlib.md5(usedforsecurity=False), 0
    end = length if last is None else last + 1
    for block in noise(seed, length):
        low, high = max(first - at, 0), min(end - at, len(block))
        if low < high:
            digest.update(block[low:high])
        at += len(block)
    return digest.hexdigest()
