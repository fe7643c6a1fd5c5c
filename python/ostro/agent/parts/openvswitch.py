"""Open vSwitch: the system's where one answers, else one of Ostro's own.

A network namespace has room for one userspace datapath (its device is called ``ovs-netdev``), and one kernel datapath. So Ostro's own
Open vSwitch is not one per state directory but one per network namespace, below ``/run/ostro``, shared by every Ostro there;
each has a bridge of its own on it. Who uses it stands in its directory ``users``; the last one to `stop` ends it and removes it.

ovsdb-server and ovs-vswitchd are detached: they, and with them every flow and connection, outlive the agent, and the next agent
adopts them. When one of them dies it is started again by every agent that supervises it, under a lock, so once.

A state directory stays with the one that it chose at first, until `stop`: its bridge is known only there. Which datapath is used is
settled by probing: the kernel's where its module is there or can be loaded (and no other vswitchd has it already), else the userspace
one, which needs nothing of the kernel but sockets.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from ostro.agent.parts.processes import STOP_TIMEOUT_S, answers, end_process, find_process, wait_for_end
from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.beside import beside
from ostro.runtime.world import World

log = structlog.get_logger()

SYSTEM_RUN_DIR = Path("/var/run/openvswitch")
SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")
PATH = "/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin"
START_S = 20.0
MODPROBE_S = 10.0
LOCK_S = 60.0
LOCK_RETRY_S = 0.02
SOCKET_PATH_MOST_BYTES = 107
LONGEST_SOCKET = "ostro-123456.snoop"
"""The longest name that vswitchd gives to a socket of ours."""


@dataclass(frozen=True)
class OpenVSwitchPartConfig:
    """``allow_system`` false means Ostro's own even where the system runs one. ``base`` is where Ostro's own is kept."""

    state_dir: Path
    allow_system: bool = True
    base: Path = Path("/run/ostro")

    @property
    def own(self) -> OwnOpenVSwitch:
        """Ostro's own in this network namespace, whether it runs or not."""
        return OwnOpenVSwitch(self.base / f"openvswitch-{os.stat('/proc/self/ns/net').st_ino}")

    @property
    def choice(self) -> Path:
        """The file that says which one this state directory has chosen: ``system`` or ``own``."""
        return self.state_dir / "openvswitch"


@dataclass(frozen=True)
class OpenVSwitch:
    """One to use. ``why`` says in a sentence which it is; ``datapath_type`` is system or netdev, ``datapath_why`` says why."""

    run_dir: Path
    own: bool
    why: str
    datapath_type: str
    datapath_why: str

    @property
    def db_socket(self) -> Path:
        """Where its database answers."""
        return self.run_dir / "db.sock"


@asynccontextmanager
async def open_(world: World, config: OpenVSwitchPartConfig) -> AsyncIterator[OpenVSwitch]:
    """Find or start Open vSwitch, and keep Ostro's own running until the block ends; it goes on afterwards.

    Raises:
        Unavailable: it isn't installed or doesn't start; the message has its own words.
        Invalid: the path is too long for a socket.
    """
    choice = _choose(config)
    if choice == "system":
        datapath, why = await choose_datapath(own=False)
        yield OpenVSwitch(SYSTEM_RUN_DIR, False, f"the system's runs in {SYSTEM_RUN_DIR}", datapath, why)
        return
    own = config.own
    async with own.lock():
        found = own.is_running()
        await own.start()
        own.enter(config.state_dir)
    datapath, why = await choose_datapath(own=True)
    how = "was running already" if found else "started, because the system runs none that may be used"
    supervisors = [functools.partial(own.supervise, world, daemon) for daemon in own.daemons]
    async with beside(*supervisors):
        yield OpenVSwitch(own.run_dir, True, f"Ostro's own in {own.root} ({how})", datapath, why)


def is_used(config: OpenVSwitchPartConfig) -> bool:
    """Whether this state directory has ever opened one since it was last done with it."""
    return config.choice.exists()


async def stop(config: OpenVSwitchPartConfig) -> None:
    """Be done with Open vSwitch: if it is Ostro's own and no other Ostro uses it, it ends, and with it every flow.

    Nobody may have it open for this state directory. There being none succeeds.

    Raises:
        Unavailable: it doesn't end.
    """
    if _chosen(config) == "own" and config.base.exists():
        own = config.own
        async with own.lock():
            own.leave(config.state_dir)
            if not own.users():
                await own.end()
    config.choice.unlink(missing_ok=True)


def _chosen(config: OpenVSwitchPartConfig) -> str:
    return config.choice.read_text() if config.choice.exists() else ""


def _choose(config: OpenVSwitchPartConfig) -> str:
    """The choice made at first, or one made now."""
    choice = _chosen(config)
    if not choice:
        choice = "system" if config.allow_system and _system_runs() else "own"
        config.state_dir.mkdir(parents=True, exist_ok=True)
        config.choice.write_text(choice)
    return choice


def _system_runs() -> bool:
    return answers(SYSTEM_RUN_DIR / "db.sock") and bool(
        find_process(SYSTEM_RUN_DIR / "ovs-vswitchd.pid", "ovs-vswitchd")
    )


async def choose_datapath(own: bool) -> tuple[str, str]:
    """``system`` or ``netdev``, and why."""
    if not _is_there("/sys/module/openvswitch") and not await _load_module():
        return "netdev", "this kernel has no openvswitch module, so packets are switched in userspace"
    if own and _is_there("/sys/class/net/ovs-system"):
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


class OwnOpenVSwitch:
    """The daemons below one directory, and who uses them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.run_dir = root / "run"
        self._users = root / "users"
        database = Daemon("ovsdb-server", (str(root / "conf.db"), f"--remote=punix:{self.run_dir}/db.sock"), "db.sock")
        switch = Daemon("ovs-vswitchd", (f"unix:{self.run_dir}/db.sock",), "ovs-vswitchd.ctl")
        self.daemons = (database, switch)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Keep others from starting, ending, entering and leaving.

        Raises:
            Unavailable: someone else has held the lock for too long.
        """
        self.root.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            with trio.move_on_after(LOCK_S) as patience:
                while not _try_lock(descriptor):  # noqa: ASYNC110  # other processes hold it
                    await trio.sleep(LOCK_RETRY_S)
            if patience.cancelled_caught:
                raise Unavailable(f"Another Ostro has been busy with {self.root} for {LOCK_S:g} s.")
            yield
        finally:
            os.close(descriptor)

    def enter(self, state_dir: Path) -> None:
        """Note that a state directory uses this one."""
        self._users.mkdir(exist_ok=True)
        name = hashlib.blake2s(str(state_dir.resolve()).encode(), digest_size=8).hexdigest()
        (self._users / name).write_text(str(state_dir.resolve()))

    def leave(self, state_dir: Path) -> None:
        """Note that it doesn't any more."""
        for path in self._users.glob("*"):
            if path.read_text() == str(state_dir.resolve()):
                path.unlink()

    def users(self) -> list[str]:
        """The state directories that use this one. One that has been deleted doesn't."""
        named = [path.read_text() for path in self._users.glob("*")]
        return sorted(state_dir for state_dir in named if Path(state_dir).exists())

    async def end(self) -> None:
        """End the daemons and remove all that they have left.

        Raises:
            Unavailable: one doesn't end.
        """
        database, switch = self.daemons
        pid = self.pid(switch)
        if pid is not None:
            # Ended by a signal it would leave its devices behind, for a vswitchd that comes after it.
            control = f"{self.run_dir}/{switch.program}.ctl"
            await self._run("ovs-appctl", "--timeout=10", "-t", control, "exit", "--cleanup")
            with trio.move_on_after(STOP_TIMEOUT_S):
                await wait_for_end(pid)
            await end_process(pid)
        pid = self.pid(database)
        if pid is not None:
            await end_process(pid)
        shutil.rmtree(self.root, ignore_errors=True)

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
        loop = world.metrics.loop(daemon.program)
        while True:
            pid = self.pid(daemon)
            if pid is not None:
                failures = 0
                await wait_for_end(pid)
            try:
                async with self.lock():
                    if self.pid(daemon) is None:
                        log.warning(f"{daemon.program} is gone, starting it again", pid=pid)
                        with loop.run():
                            await self.start()
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


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _last_lines(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()[-500:]
    except FileNotFoundError:
        return "it said nothing"
