"""A real Ceph for tests and the demonstration: one monitor and some OSDs in a directory, cephx on, no systemd and no manager.

``CephCluster`` is ready in a second (memstore) or three (bluestore). Its daemons are children that die with this process, or rather with the thread
that started them: use it from the main thread. Everything
(configuration, keyrings, data, sockets, logs) is in the directory and goes with it. I/O, pools and RBD need no manager;
what does (statistics of usage) says nothing here.

Bad days on purpose: `kill_osd` and `start_osd`, `freeze` and `thaw`, `kill_monitor` and `start_monitor`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.testing.ceph.settings import CephOptions, Ports, ceph_conf, entities, keyring, new_key
from ostro.testing.processes import freeze

START_DEADLINE_S = 60.0
POLL_S = 0.02
SOCKET_PATH_MAX_BYTES = 107
PROGRAMS = {"ceph-mon": "ceph-mon", "ceph-osd": "ceph-osd", "monmaptool": "ceph-common"}


def why_not() -> str:
    """Why no cluster can be made on this machine; empty if one can."""
    for program, package in PROGRAMS.items():
        if shutil.which(program) is None:
            return f"{program} is not installed: apt-get install --no-install-recommends {package}"
    try:
        import rados  # noqa: F401  # only to see whether it is there
    except ImportError as error:
        return f"Ceph's Python binding is missing ({error}): apt-get install python3-rados python3-rbd, then make build"
    return ""


class CephCluster:
    """One cluster. Use it as a context manager: leaving it stops every daemon and removes the directory."""

    def __init__(self, options: CephOptions | None = None, root: Path | None = None) -> None:
        self.options = options or CephOptions()
        self.root = root or Path(tempfile.mkdtemp(prefix="ostro-ceph-"))
        self.conf = self.root / "ceph.conf"
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}
        self._admin: Any = None

    def __enter__(self) -> CephCluster:
        try:
            self._make()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _make(self) -> None:
        for name in ("run", "log", "crash", "mon.a", *(f"osd.{n}" for n in range(self.options.osds))):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        if len(str(self.root / "run" / "client.admin.999999.asok")) > SOCKET_PATH_MAX_BYTES:
            raise ValueError(f"The path {self.root} is too long for a unix socket in it.")
        fsid, ports = str(uuid.UUID(bytes=os.urandom(16), version=4)), Ports(*_free_ports(2, self.options.address))
        self.conf.write_text(ceph_conf(self.root, self.options, fsid, ports))
        self._make_keys()
        at = self.options.address
        address = f"[v2:{at}:{ports.v2}/0,v1:{at}:{ports.v1}/0]"
        monmap = str(self.root / "monmap")
        self._run(
            *("monmaptool", "--create", "--clobber", "--fsid", fsid, "--set-min-mon-release", "pacific"),
            *("--addv", "a", address, monmap),
        )
        uuids = [str(uuid.UUID(bytes=os.urandom(16), version=4)) for _ in range(self.options.osds)]
        # An OSD's mkfs needs no monitor, so all of them run beside the monitor's.
        making = [self._mkfs_osd(number, osd_uuid, monmap) for number, osd_uuid in enumerate(uuids)]
        seed = str(self.root / "seed.keyring")
        self._run("ceph-mon", "-i", "a", "-c", str(self.conf), "--mkfs", "--monmap", monmap, "--keyring", seed)
        self.start_monitor()
        self._connect()
        for number, osd_uuid in enumerate(uuids):
            self.command("osd new", uuid=osd_uuid, id=number)
        for process in making:
            if process.wait():
                raise RuntimeError(f"An OSD could not be made:\n{self.tail()}")
        for number in range(self.options.osds):
            self.start_osd(number)
        self.wait_for_osds(self.options.osds)

    def _make_keys(self) -> None:
        """Every key is made here and given to the monitor's mkfs, which saves a round trip each."""
        seed = ""
        for entity, caps in entities(self.options.osds).items():
            text = keyring(entity, new_key(int(time.time())), caps)  # noqa: TID251  # plain and synchronous
            seed += text
            name = "mon.a" if entity == "mon." else entity
            _write_secret(self.root / f"{name}.keyring", text)
        _write_secret(self.root / "seed.keyring", seed)

    def _mkfs_osd(self, number: int, osd_uuid: str, monmap: str) -> subprocess.Popen[bytes]:
        shutil.copy(self.root / f"osd.{number}.keyring", self.root / f"osd.{number}" / "keyring")
        words = ["ceph-osd", "-i", str(number), "-c", str(self.conf), "--mkfs", "--osd-uuid", osd_uuid]
        return self._spawn([*words, "--monmap", monmap, "--no-mon-config"])

    def _connect(self) -> None:
        import rados

        self._admin = rados.Rados(conffile=str(self.conf), name="client.admin")
        self._admin.connect(timeout=int(START_DEADLINE_S))

    # -- daemons -------------------------------------------------------------------------------------------------

    def start_monitor(self) -> None:
        """Start the monitor."""
        self._daemons["mon.a"] = self._spawn(["ceph-mon", "-i", "a", "-c", str(self.conf), "-f"])

    def start_osd(self, number: int) -> None:
        """Start an OSD; see `wait_for_osds`. A memstore one comes back empty, so only bluestore survives `kill_osd`."""
        words = ["ceph-osd", "-i", str(number), "-c", str(self.conf), "-f", "--no-mon-config"]
        self._daemons[f"osd.{number}"] = self._spawn(words)

    def kill_osd(self, number: int) -> None:
        """End an OSD with SIGKILL. The monitor takes some seconds to notice."""
        self._kill(f"osd.{number}")

    def kill_monitor(self) -> None:
        """End the monitor with SIGKILL."""
        self._kill("mon.a")

    def freeze(self, daemon: str) -> None:
        """Stop a daemon (``osd.0``, ``mon.a``) in its tracks: it keeps its connections and answers nothing."""
        freeze(self._daemons[daemon].pid)

    def thaw(self, daemon: str) -> None:
        """Let a frozen daemon go on.

        An OSD that was frozen for longer than its groups' read lease (`settings`) and has the only copy of them never looks again whether it may
        serve what came meanwhile: only the other copies' acknowledgements would make it (Ceph 16.2). So it is told that it was taken for dead,
        as it would be where there are others; it comes back within a second, and everything is sent again.
        """
        self._daemons[daemon].send_signal(signal.SIGCONT)
        kind, _, number = daemon.partition(".")
        if kind == "osd":
            self.command("osd down", ids=[number])

    def wait_for_osds(self, number: int) -> None:
        """Return when the monitor says that ``number`` OSDs are up."""
        self.wait_until(lambda: self.command("osd stat")["num_up_osds"] >= number, f"{number} OSDs up")

    def mark_down(self, number: int) -> None:
        """Tell the monitor that an OSD is down, so that nobody waits for its heartbeat to be missed."""
        self.command("osd down", ids=[str(number)])

    def pid(self, daemon: str) -> int:
        """A daemon's process id."""
        return self._daemons[daemon].pid

    # -- administration ------------------------------------------------------------------------------------------

    def command(self, prefix: str, **arguments: object) -> Any:
        """A monitor command; its answer, decoded. Raises RuntimeError with Ceph's words."""
        words = json.dumps({"prefix": prefix, "format": "json", **arguments})
        code, out, complaint = self._admin.mon_command(words, b"", timeout=int(START_DEADLINE_S))
        if code:
            raise RuntimeError(f"{prefix}: {complaint or code}")
        return json.loads(out) if out.strip() else None

    def ask_osd(self, number: int, prefix: str) -> str:
        """What an OSD answers to a command of its own, such as ``perf dump``."""
        code, out, complaint = self._admin.osd_command(number, json.dumps({"prefix": prefix}), b"", timeout=30)
        if code:
            raise RuntimeError(f"osd.{number} {prefix}: {complaint}")
        return str(out.decode())

    def is_degraded(self, pool: str) -> bool:
        """Whether a placement group of the pool has fewer copies in use than it should, as its OSDs say."""
        number = next(found["pool"] for found in self.command("osd dump")["pools"] if found["pool_name"] == pool)
        for group in range(self.options.placement_groups):
            if self.query_group(f"{number}.{group:x}")["state"] != "active+clean":
                return True
        return False

    def query_group(self, group: str) -> Any:
        """What the primary OSD says of a placement group; a state of ``unknown`` while there is none."""
        import rados

        words = json.dumps({"prefix": "query", "pgid": group, "format": "json"})
        try:
            code, out, _complaint = self._admin.pg_command(group, words, b"", timeout=5)
        except rados.Error:
            return {"state": "unknown"}
        return {"state": "unknown"} if code else json.loads(out)

    def create_pool(self, name: str, application: str = "rbd") -> None:
        """Make a pool, marked for its application."""
        self.command("osd pool create", pool=name, pg_num=self.options.placement_groups)
        self.command("osd pool application enable", pool=name, app=application)

    def remove_pool(self, name: str) -> None:
        """Delete a pool and all in it."""
        self.command("osd pool delete", pool=name, pool2=name, yes_i_really_really_mean_it=True)

    @contextmanager
    def pools_of(self, user: str, pools: Pools, *, objects: bool = False) -> Iterator[CephConfig]:
        """Empty pools for disks, and for ``objects`` if there are to be any, and their user with the least privilege. They go with what is in them."""
        names = [pools.images, pools.volumes, *([pools.objects] if objects else [])]
        self.add_user(user, capabilities(pools))
        for name in names:
            self.create_pool(name)
        yield CephConfig(self.conf, user, pools)
        for name in names:
            self.remove_pool(name)

    def add_user(self, user: str, caps: Mapping[str, str]) -> Path:
        """Make ``client.<user>`` with just these capabilities; its keyring, where the configuration says it is."""
        entity = f"client.{user}"
        words = [word for pair in caps.items() for word in pair]
        found = self.command("auth get-or-create", entity=entity, caps=words)[0]
        path = self.root / f"{entity}.keyring"
        _write_secret(path, keyring(entity, found["key"], {}))
        return path

    def objects(self, pool: str) -> list[str]:
        """The names of all objects in a pool, in every namespace."""
        import rados

        with self._admin.open_ioctx(pool) as ioctx:
            ioctx.set_namespace(rados.LIBRADOS_ALL_NSPACES)
            return sorted(found.key for found in ioctx.list_objects())

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Poll until it is so. Raises RuntimeError with the logs' ends when it isn't in time."""
        until_s = time.monotonic() + START_DEADLINE_S
        while not is_so():
            if time.monotonic() > until_s:
                raise RuntimeError(f"Ceph: not in {START_DEADLINE_S:g} s: {what}\n{self.tail()}")
            time.sleep(POLL_S)  # noqa: TID251  # likewise

    def tail(self, lines: int = 20) -> str:
        """The ends of all logs."""
        parts = []
        for path in sorted((self.root / "log").iterdir()):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            parts.append("\n".join([f"-- {path.name}", *text]))
        return "\n".join(parts)

    def close(self) -> None:
        """End every daemon and remove the directory. Idempotent."""
        if self._admin is not None:
            admin, self._admin = self._admin, None
            for name in list(self._daemons):
                self._daemons[name].send_signal(signal.SIGCONT)
            admin.shutdown()
        for name in list(self._daemons):
            self._kill(name)
        shutil.rmtree(self.root, ignore_errors=True)

    # -- processes -----------------------------------------------------------------------------------------------

    def _run(self, *words: str) -> None:
        done = self._spawn(list(words)).wait()
        if done:
            raise RuntimeError(f"{words[0]} failed:\n{self.tail()}")

    def _spawn(self, words: list[str]) -> subprocess.Popen[bytes]:
        """A child that dies with this process, its output in the log."""
        environment = {**os.environ, "CEPH_CONF": str(self.conf), "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES": "16777216"}
        with (self.root / "log" / f"{Path(words[0]).name}.out").open("ab") as log:
            return subprocess.Popen(
                ["setpriv", "--pdeathsig", "SIGKILL", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.root,
                env=environment,
                start_new_session=True,
            )

    def _kill(self, name: str) -> None:
        process = self._daemons.pop(name, None)
        if process is not None:
            process.kill()
            process.wait()


def _free_ports(number: int, address: str) -> list[int]:
    sockets = [socket.create_server((address, 0)) for _ in range(number)]
    ports = [sock.getsockname()[1] for sock in sockets]
    for sock in sockets:
        sock.close()
    return ports


def _write_secret(path: Path, text: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
