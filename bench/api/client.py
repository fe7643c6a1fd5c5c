"""A keep-alive HTTP client, wrk as the load generator, and a few statistics."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

TIMEOUT_S = 60.0
REPORT = """
done = function(summary, latency, requests)
  io.write(string.format('RESULT {"n":%d,"us":%d,"p50":%.3f,"p99":%.3f,"errors":%d}\\n', summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.timeout))
end
"""


class Failed(Exception):
    """A call was answered by an error, or a measurement went wrong."""


class Client:
    """Calls one endpoint over one connection. Not thread-safe: each thread has its own."""

    def __init__(self, base: str, token: str = "", headers: dict[str, str] | None = None) -> None:
        self.base = base.rstrip("/")
        url = urlsplit(self.base)
        self._path = url.path
        self._connection = _connect(url)
        self.headers = {**(headers or {}), **({"X-Auth-Token": token} if token else {})}

    def copy(self) -> Client:
        """The same endpoint over a connection of its own."""
        made = Client(self.base)
        made.headers = dict(self.headers)
        return made

    def send(self, method: str, path: str, body: Any = None) -> tuple[int, bytes, http.client.HTTPMessage]:
        """One call; status, body, headers."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        headers = self.headers if data is None else {**self.headers, "Content-Type": kind}
        try:
            self._connection.request(method, self._path + path, data, headers)
            answer = self._connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError):
            # A kept connection may be closed just as it is used.
            self._connection.close()
            self._connection.request(method, self._path + path, data, headers)
            answer = self._connection.getresponse()
        return answer.status, answer.read(), answer.headers

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """One call that must succeed, with JSON in and out."""
        status, data, _headers = self.send(method, path, body)
        if status >= 400:
            raise Failed(f"{method} {self.base}{path}: {status} {data[:300]!r}")
        return json.loads(data) if data else None


def _connect(url: SplitResult) -> http.client.HTTPConnection:
    """A connection to be opened. A cloud that is measured needn't show who it is."""
    host = url.hostname or "127.0.0.1"
    if url.scheme == "https":
        anybody = ssl.create_default_context()
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(host, url.port or 443, timeout=TIMEOUT_S, context=anybody)
    return http.client.HTTPConnection(host, url.port or 80, timeout=TIMEOUT_S)


@dataclass(frozen=True)
class Load:
    """What wrk measured."""

    rate: float
    p50_ms: float
    p99_ms: float


def wrk(
    client: Client,
    path: str,
    *,
    connections: int,
    seconds: int,
    method: str = "GET",
    body: Any = None,
    script: str = "",
) -> Load:
    """Load one URL. ``script`` is Lua that may define ``request``. Raises Failed when anything was answered by an error."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write("\n".join([wrk_script(client, method, body), script, REPORT]))
        file.flush()
        command = wrk_command(client, path, connections, f"{seconds}s", file.name)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            found = json.loads(line.removeprefix("RESULT "))
            if found["errors"]:
                raise Failed(f"{method} {path}: {found['errors']} of {found['n']} calls failed")
            return Load(found["n"] / (found["us"] / 1e6), found["p50"], found["p99"])
    raise Failed(done.stdout + done.stderr)


def wrk_script(client: Client, method: str, body: Any) -> str:
    """The Lua by which wrk asks as a client does."""
    lines = [f"wrk.method = {json.dumps(method)}"]
    lines += [f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}" for k, v in client.headers.items()]
    if body is not None:
        lines += ['wrk.headers["Content-Type"] = "application/json"', f"wrk.body = {json.dumps(json.dumps(body))}"]
    return "\n".join(lines)


def wrk_command(client: Client, path: str, connections: int, duration: str, script: str) -> list[str]:
    """The words that start wrk, in one thread."""
    bounds = ["-t1", f"-c{connections}", f"-d{duration}", "--timeout", "30s"]
    return ["wrk", *bounds, "-s", script, client.base + path]


def percentile(values: Iterable[float], percent: float) -> float:
    """The value below which ``percent`` of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(percent / 100 * (len(ordered) - 1)))]


def timed(call: Callable[[], object]) -> float:
    """How long a call takes, in milliseconds."""
    started_s = time.perf_counter()
    call()
    return (time.perf_counter() - started_s) * 1e3


def in_parallel(
    client: Client, width: int, jobs: int, work: Callable[[Client, int], Any]
) -> tuple[list[Any], list[float]]:
    """Run ``work(client, number)`` for each number over ``width`` connections; results and times in milliseconds."""
    numbers, lock = iter(range(jobs)), threading.Lock()
    results: list[Any] = []
    times: list[float] = []
    errors: list[BaseException] = []

    def run() -> None:
        own = client.copy()
        while not errors:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            started_s = time.perf_counter()
            try:
                results.append(work(own, number))
            except Exception as error:  # noqa: BLE001 - it is raised again below
                errors.append(error)
            times.append((time.perf_counter() - started_s) * 1e3)

    threads = [threading.Thread(target=run) for _ in range(width)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results, times
