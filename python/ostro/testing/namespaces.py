"""Guests without a hypervisor: network namespaces of this host, each with one card whose other end is a port's tap.

The kernel in the namespace is a real guest's: it asks for its address by DHCP, resolves by ARP, pings and talks TCP. Needs root.
"""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from textwrap import dedent

import trio

from ostro.model.wishes import PortWish

COMMAND_S = 30.0
TAKE_LEASE = """\
#!/bin/sh
[ "$1" = bound ] || exit 0
ip address flush dev $interface
ip address add $ip/$mask dev $interface
ip link set $interface mtu $mtu
set -- $staticroutes
while [ -n "$1" ]; do ip route replace $1 via $2 dev $interface; shift 2; done
env | grep -E '^(ip|mask|router|dns|hostname|mtu|lease|staticroutes|serverid)='
"""
FETCH = """\
import sys, urllib.error, urllib.request
try:
    with urllib.request.urlopen(sys.argv[1], timeout=10) as answer:
        print(answer.status)
        sys.stdout.buffer.write(answer.read())
except urllib.error.HTTPError as error:
    print(error.code)
    sys.stdout.buffer.write(error.read())
except OSError as error:
    print(0)
    print(error)
"""


CLONE_NEWNET = 0x40000000


class OwnNetwork:
    """A network namespace for a process of tests: it isolates tests from what runs on the host, and the host from tests.

    To be made before threads are started, as they inherit it; so at the import of a conftest. It has a loopback and nothing
    else. Without root it does nothing.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._host = os.open("/proc/self/ns/net", os.O_RDONLY)
        if os.geteuid() == 0:
            self._check(self._libc.unshare(CLONE_NEWNET))
            subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        self._own = os.open("/proc/self/ns/net", os.O_RDONLY)

    @contextmanager
    def left(self) -> Iterator[None]:
        """Run the block in the host's network, for what has to be fetched from outside. Threads stay where they are."""
        if os.geteuid() != 0:
            yield
            return
        self._check(self._libc.setns(self._host, CLONE_NEWNET))
        try:
            yield
        finally:
            self._check(self._libc.setns(self._own, CLONE_NEWNET))

    def _check(self, result: int) -> None:
        if result != 0:
            raise OSError(ctypes.get_errno(), "the kernel refuses the network namespace")


async def run(*command: str, check: bool = True) -> str:
    """Run a command to its end and return what it printed.

    Raises:
        subprocess.CalledProcessError: it failed, and ``check``.
        trio.TooSlowError: it takes longer than any command here should.
    """
    with trio.fail_after(COMMAND_S):
        done = await trio.run_process(list(command), check=False, capture_stdout=True, capture_stderr=True)
    if check and done.returncode:
        said = done.stdout.decode() + done.stderr.decode()
        raise subprocess.CalledProcessError(done.returncode, " ".join(command), said)
    return done.stdout.decode()


SERVE = """\
import socketserver, sys, threading
class Hello(socketserver.BaseRequestHandler):
    def handle(self): self.request.sendall(b"hello")
socketserver.ThreadingTCPServer.allow_reuse_address = True
for port in sys.argv[2:]:
    threading.Thread(target=socketserver.ThreadingTCPServer(("", int(port)), Hello).serve_forever).start()
print("serving", flush=True)
"""


class NamespaceGuest:
    """One guest. ``card`` is the name of its card."""

    card = "eth0"

    def __init__(self, name: str, scratch: Path) -> None:
        self.name = name
        self._scratch = scratch

    async def do(self, *command: str, check: bool = True) -> str:
        """Run a command in the guest."""
        return await run("ip", "netns", "exec", self.name, *command, check=check)

    async def dhcp(self) -> dict[str, str]:
        """Ask for an address and use what is answered; the answer's options by udhcpc's names.

        Raises:
            subprocess.CalledProcessError: no answer.
        """
        script = self._scratch / "take-lease"
        if not await trio.Path(script).exists():
            await trio.Path(script).write_text(TAKE_LEASE)
            await trio.Path(script).chmod(0o755)
        asked = ["-O", "staticroutes", "-O", "mtu", "-t", "3", "-T", "1"]
        said = await self.do("busybox", "udhcpc", "-i", self.card, "-n", "-q", "-f", *asked, "-s", str(script))
        return dict(line.split("=", 1) for line in said.splitlines() if "=" in line)

    async def address(self, address: str, mac: str = "") -> None:
        """Take an address (with prefix) without asking, and a MAC."""
        await self.do("ip", "address", "flush", "dev", self.card)
        if mac:
            await self.do("ip", "link", "set", self.card, "address", mac)
        await self.do("ip", "address", "add", address, "dev", self.card)

    async def reaches(self, address: str, count: int = 2) -> bool:
        """Whether any of some pings is answered, each within a second."""
        said = await self.do("ping", "-c", str(count), "-i", "0.2", "-W", "1", address, check=False)
        return " 0 received" not in said and "received" in said

    @asynccontextmanager
    async def serving(self, *ports: int) -> AsyncIterator[None]:
        """Listen on TCP ports and say hello to whoever connects."""
        words = ["ip", "netns", "exec", self.name, sys.executable, "-c", SERVE, "serve", *map(str, ports)]
        process = await trio.lowlevel.open_process(words, stdout=subprocess.PIPE)
        assert process.stdout is not None, "a pipe"
        try:
            with trio.fail_after(COMMAND_S):
                said = await process.stdout.receive_some()
            assert said.startswith(b"serving"), said
            yield
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()

    async def is_greeted(self, address: str, port: int) -> bool:
        """Whether a server (`serving`) says hello within a second."""
        words = f"cat < /dev/tcp/{address}/{port}"
        return await self.do("timeout", "1", "bash", "-c", words, check=False) == "hello"

    async def fetch(self, url: str) -> tuple[int, str]:
        """GET a page: status and body."""
        status, _, body = (await self.do(sys.executable, "-c", dedent(FETCH), url)).partition("\n")
        return int(status), body


@asynccontextmanager
async def guest_on(port: PortWish, scratch: Path, host: str = "") -> AsyncIterator[NamespaceGuest]:
    """A guest whose card is a port's; to be made before the port is plugged. It and the tap are gone afterwards.

    ``host`` is the network namespace that the tap is in, empty for this one.
    """
    name = f"{port.tap}-{os.getpid()}"  # namespaces are the whole machine's, and so are other runs of tests
    link = ["ip", *(["-n", host] if host else []), "link"]
    await run("ip", "netns", "add", name)
    try:
        await run(*link, "add", port.tap, "type", "veth", "peer", "name", NamespaceGuest.card, "netns", name)
        guest = NamespaceGuest(name, scratch)
        await guest.do("ip", "link", "set", guest.card, "address", port.mac)
        await guest.do("ip", "link", "set", "lo", "up")
        await guest.do("ip", "link", "set", guest.card, "up")
        # What leaves a real guest of a userspace switch has its checksums; see the network driver's facts.
        await guest.do("ethtool", "-K", guest.card, "tx", "off")
        yield guest
    finally:
        with trio.CancelScope(shield=True):
            await run("ip", "netns", "del", name)
            await run(*link, "del", port.tap, check=False)
