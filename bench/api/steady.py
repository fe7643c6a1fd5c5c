"""A load that has come to rest: only what is answered well once every client is there and waits counts.

Hundreds of connections, and handshakes by TLS, take the generator and the server longer than a short turn does; and where each answer takes seconds, what
is under way at both ends of a turn is as much as what it answers.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.api.client import Client, Failed, wrk_command, wrk_script
from bench.api.cloud import cpu_s

START_S = 0.1
"""How long wrk may take until it begins."""
COUNT = """
local ffi = require("ffi")
ffi.cdef("typedef struct {{ long s; long ns; }} bench_time; int clock_gettime(int, bench_time *);")
local clock = ffi.new("bench_time")
good, bad, spent = 0, 0, 0
function response(status)
  ffi.C.clock_gettime(1, clock)
  local now = tonumber(clock.s) + tonumber(clock.ns) / 1e9
  if now < {from_s} or now >= {until_s} then return end
  if status < 400 then good = good + 1 else bad = bad + 1 end
end
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
function done(summary, latency)
  io.write(string.format('RESULT {{"good":%d,"bad":%d,"p99":%.3f}}\\n', threads[1]:get("good"), threads[1]:get("bad"), latency:percentile(99) / 1000))
end
"""


Pids = Callable[[], list[int]]


@dataclass(frozen=True)
class Steady:
    """What was answered well and otherwise in a second, how soon (from the first client on), and what a good answer cost each group of processes."""

    rate: float
    refused: float
    p99_ms: float
    cpu_us: dict[str, float]


def steady(
    client: Client,
    path: str,
    groups: dict[str, Pids],
    *,
    connections: int,
    warm_s: float,
    seconds: float,
    method: str = "GET",
    body: object = None,
) -> Steady:
    """Load one URL for ``warm_s`` and then for ``seconds`` that count. ``groups`` name the processes whose time is counted; the generator is ``load``."""
    from_s = time.monotonic() + START_S + warm_s
    count = COUNT.format(from_s=from_s, until_s=from_s + seconds)
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(wrk_script(client, method, body) + count)
        file.flush()
        # It ends a moment later than what counts, so that its end costs nothing that counts.
        command = wrk_command(client, path, connections, f"{int(2 * START_S + warm_s + seconds) + 1}s", file.name)
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            pids: dict[str, Pids] = {**groups, "load": lambda: [process.pid]}
            _wait_until(from_s)
            before_s = {name: _each(of()) for name, of in pids.items()}
            _wait_until(from_s + seconds)
            spent_s = {name: _since(_each(of()), before_s[name]) for name, of in pids.items()}
            text = process.communicate()[0]
    for line in text.splitlines():
        if line.startswith("RESULT "):
            found = json.loads(line.removeprefix("RESULT "))
            each = {name: spent / max(found["good"], 1) * 1e6 for name, spent in spent_s.items()}
            return Steady(found["good"] / seconds, found["bad"] / seconds, found["p99"], each)
    raise Failed(text)


def _wait_until(at_s: float) -> None:
    time.sleep(max(at_s - time.monotonic(), 0.0))


def _each(pids: list[int]) -> dict[int, float]:
    """What each has used; one that has ended meanwhile is left out."""
    used: dict[int, float] = {}
    for pid in pids:
        try:
            used[pid] = cpu_s([pid])
        except OSError:
            continue
    return used


def _since(now_s: dict[int, float], before_s: dict[int, float]) -> float:
    return sum(used - before_s.get(pid, 0.0) for pid, used in now_s.items())
