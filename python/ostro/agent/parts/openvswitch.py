"""Open vSwitch: the system's where one answers, else a private one that lives in the state directory.

The private ovsdb-server and ovs-vswitchd are detached: they, and with them every flow and connection, outlive the agent, and the
next agent adopts them. When one of them dies it is started again. `stop` ends them.

Which one is used is settled by what is there: a state directory that has had a private one keeps to it, because its bridge
is known only there. Which datapath is used is settled by probing: the kernel's where its module is there or can be loaded (and, for a private
one, no other vswitchd has it already), else the userspace one, which needs nothing of the kernel but sockets.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from ostro.agent.parts.processes import end_process, find_process, wait_for_end
from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.world import World

log = structlog.get_logger()

SYSTEM_RUN_DIR = Path("/var/run/openvswitch")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
START_S = 20.0
MODPROBE_S = 10.0
SOCKET_PATH_MOST_BYTES = 107
LONGEST_SOCKET = "ostro-123456.snoop"
"""The longest name that vswitchd gives to a socket of ours."""


@dataclass(frozen=True)
class OpenVSwitchPartConfig:
    """``allow_system`` false starts a private one even where the system runs its own."""

    state_dir: Path
    allow_system: bool = True

    @property
    def root(self) -> Path:
        """Where the private one keeps everything."""
        return self.state_dir / "openvswitch"


@dataclass(frozen=True)
class OpenVSwitch:
    """One to use. ``why`` says in a sentence which it is; ``datapath_type`` is system or netdev, ``datapath_why`` says why."""

    run_dir: Path
    private: bool
    why: str
    datapath_type: str
    datapath_why: str

    @property
    def db_socket(self) -> Path:
        """Where its database answers."""
        return self.run_dir / "db.sock"


@asynccontextmanager
async def open_(world: World, config: OpenVSwitchPartConfig) -> AsyncIterator[OpenVSwitch]:
    """Find or start Open vSwitch, and keep a private one running until the block ends; it goes on afterwards.

    Raises:
        Unavailable: it isn't installed or doesn't start; the message has its own words.
        Invalid: the state directory's path is too long for a socket.
    """
    found = await find(config)
    if found is not None and not found.private:
        yield found
        return
    private = PrivateOpenVSwitch(config.root)
    datapath, datapath_why = await choose_datapath(private=True)
    how = "was running already" if found else "started, because the system runs none"
    await private.start()
    why = f"a private one in {config.root} ({how})"
    async with trio.open_nursery() as nursery:
        for daemon in private.daemons:
            nursery.start_soon(private.supervise, world, daemon)
        yield OpenVSwitch(private.run_dir, True, why, datapath, datapath_why)
        nursery.cancel_scope.cancel()


async def find(config: OpenVSwitchPartConfig) -> OpenVSwitch | None:
    """The one that this state directory uses, if it is running; nothing is started."""
    private = PrivateOpenVSwitch(config.root)
    if config.root.exists():
        run_dir, running, why = private.run_dir, private.is_running(), f"a private one in {config.root}"
    else:
        running = config.allow_system and _system_runs()
        run_dir, why = SYSTEM_RUN_DIR, f"the system's Open vSwitch runs in {SYSTEM_RUN_DIR}"
    if not running:
        return None
    return OpenVSwitch(run_dir, config.root.exists(), why, *await choose_datapath(config.root.exists()))


async def stop(config: OpenVSwitchPartConfig) -> None:
    """End the private daemons, and with them every flow; there being none succeeds. Nobody may be supervising them."""
    private = PrivateOpenVSwitch(config.root)
    for daemon in reversed(private.daemons):
        pid = private.pid(daemon)
        if pid is not None:
            await end_process(pid)


def _system_runs() -> bool:
    return answers(SYSTEM_RUN_DIR / "db.sock") and bool(
        find_process(SYSTEM_RUN_DIR / "ovs-vswitchd.pid", "ovs-vswitchd")
    )


def answers(path: Path) -> bool:
    """Whether something accepts connections on the socket. At once: a local socket never waits."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


async def choose_datapath(private: bool) -> tuple[str, str]:
    """``system`` or ``netdev``, and why."""
    if not _is_there("/sys/module/openvswitch") and not await _load_module():
        return "netdev", "this kernel has no openvswitch module, so packets are switched in userspace"
    if private and _is_there("/sys/class/net/ovs-system"):
        return "netdev", "another Open vSwitch has the kernel's datapath, so packets are switched in userspace"
    return "system", "the kernel has the openvswitch module"


def _is_there(path: str) -> bool:
    return Path(path).exists()


async def _load_module() -> bool:
    modprobe = shutil.which("modprobe", path=PATH)
    if modprobe is None:
        return False
    with trio.move_on_after(MODPROBE_S):
        done = await trio.run_process([modprobe, "openvswitch"], check=False, capture_stderr=True, capture_stdout=True)
        return done.returncode == 0
    return False


@dataclass(frozen=True)
class Daemon:
    """One of the two daemons: the program, its arguments, and the socket that answers when it is ready."""

    program: str
    arguments: tuple[str, ...]
    ready: str


class PrivateOpenVSwitch:
    """The daemons below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_dir = root / "run"
        database = Daemon("ovsdb-server", (str(root / "conf.db"), f"--remote=punix:{self.run_dir}/db.sock"), "db.sock")
        switch = Daemon("ovs-vswitchd", (f"unix:{self.run_dir}/db.sock",), "ovs-vswitchd.ctl")
        self.daemons = (database, switch)

    def pid(self, daemon: Daemon) -> int | None:
        """The process of a daemon, if it runs."""
        return find_process(self.run_dir / f"{daemon.program}.pid", daemon.program)

    def is_running(self) -> bool:
        """Whether both daemons run."""
        return all(self.pid(daemon) is not None for daemon in self.daemons)

    async def start(self) -> None:
        """Start what isn't running.

        Raises:
            Unavailable: it isn't installed or doesn't start.
            Invalid: the path is too long.
        """
        if len(os.fsencode(self.run_dir / LONGEST_SOCKET)) > SOCKET_PATH_MOST_BYTES:
            raise Invalid(f"The path {self.run_dir} is too long for a socket: choose a shorter state directory.")
        for directory in (self.run_dir, self.root / "log"):
            directory.mkdir(parents=True, exist_ok=True)
        if not (self.root / "conf.db").exists():
            await self._run("ovsdb-tool", "create", str(self.root / "conf.db"), str(SCHEMA))
        for daemon in self.daemons:
            await self.start_daemon(daemon)

    async def start_daemon(self, daemon: Daemon) -> None:
        """Start one daemon if it isn't running; returns when it answers.

        Raises:
            Unavailable: it isn't installed or doesn't start.
        """
        if self.pid(daemon) is not None:
            return
        log_file = self.root / "log" / f"{daemon.program}.log"
        arguments = [*daemon.arguments, "--detach", f"--pidfile={self.run_dir}/{daemon.program}.pid"]
        arguments += [f"--unixctl={self.run_dir}/{daemon.program}.ctl", f"--log-file={log_file}"]
        await self._run(daemon.program, *arguments, "-vconsole:off", "-vsyslog:off", "-vfile:info")
        if not answers(self.run_dir / daemon.ready):
            raise Unavailable(f"{daemon.program} started and does not answer.", detail=_last_lines(log_file))
        if daemon.program == "ovsdb-server":
            version = (await self._run("ovs-vswitchd", "--version")).split("\n")[0].rpartition(" ")[2]
            client = ("ovs-vsctl", "--no-wait", f"--db=unix:{self.run_dir}/db.sock", "--timeout=10")
            await self._run(*client, "init", "--", "set", "Open_vSwitch", ".", f"ovs-version={version}")

    async def supervise(self, world: World, daemon: Daemon) -> None:
        """Start a daemon again whenever it dies."""
        backoff, failures = Backoff(first_s=0.1, most_s=15.0), 0
        while True:
            pid = self.pid(daemon)
            if pid is not None:
                failures = 0
                await wait_for_end(pid)
            log.warning(f"{daemon.program} is gone, starting it again", pid=pid)
            try:
                await self.start_daemon(daemon)
            except (Unavailable, OSError) as error:
                failures += 1
                log.error(f"{daemon.program} does not start", reason=str(error), failures=failures)
                await trio.sleep(backoff.delay_s(failures, world.random))

    async def _run(self, program: str, *arguments: str) -> str:
        """Run a program of Open vSwitch's to its end, or to its detachment; what it printed."""
        path = shutil.which(program, path=PATH)
        if path is None:
            raise Unavailable(f"{program} is not installed: apt-get install openvswitch-switch")
        environment = {
            "PATH": PATH,
            "OVS_RUNDIR": str(self.run_dir),
            "OVS_LOGDIR": str(self.root / "log"),
            "OVS_DBDIR": str(self.root),
            "OVS_SYSCONFDIR": str(self.root),
        }
        with trio.move_on_after(START_S):
            done = await trio.run_process(
                [path, *arguments],
                check=False,
                capture_stdout=True,
                capture_stderr=True,
                env=environment,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
            )
            if done.returncode == 0:
                return done.stdout.decode(errors="replace")
            words = done.stderr.decode(errors="replace").strip()[-500:]
            raise Unavailable(f"{program} failed: {words or f'exit code {done.returncode}'}")
        raise Unavailable(f"{program} was not ready in {START_S:g} s.")


def _last_lines(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()[-500:]
    except FileNotFoundError:
        return "it said nothing"
