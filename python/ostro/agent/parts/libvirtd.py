"""libvirtd: the system's where one answers, else a private one that lives in the state directory.

libvirt's directories are compiled into it, so the private daemon runs in a mount namespace of its own where they
are bound to directories of ours. Nothing is mounted outside. The daemon is detached, in a session of its own: it and the
QEMU processes it starts outlive the agent, and the next agent adopts them. When the daemon dies it is started again
and finds its domains by the state files, which are ours too; one that hangs is ended first. `stop` ends it.

Other hosts' daemons send it domains where it is told to listen. It then has a host name of its own, because libvirt takes a host of the same name
for itself. Without certificates whoever reaches the address can do anything with this host: that is for an underlay that nobody else is on.

Which one is used is settled by what is there: a state directory that has had a private daemon keeps to it, because its
domains are known only there.
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from ostro.agent.parts.processes import answers, end_process, find_process, wait_for_end
from ostro.model.errors import Invalid, Unavailable
from ostro.runtime.backoff import Backoff
from ostro.runtime.world import World

log = structlog.get_logger()

SYSTEM_SOCKETS = (Path("/run/libvirt/libvirt-sock"), Path("/run/libvirt/virtqemud-sock"))
BOUND = {
    "run": "/run/libvirt",
    "lib": "/var/lib/libvirt",
    "etc": "/etc/libvirt",
    "cache": "/var/cache/libvirt",
    "log": "/var/log/libvirt",
}
HOSTS = Path("/etc/hosts")
START_TIMEOUT_S = 30.0
SOCKET_PATH_MAX_BYTES = 107
PROBES_PER_DEADLINE = 6
ASK_FOR_AUTHENTICATION = struct.pack(">IIIiiIi", 28, 0x20008086, 1, 66, 0, 1, 0)
"""libvirt's remote protocol: length, program, version, AUTH_LIST, a call, serial, no error. A thread for urgent calls answers it."""

_DAEMON_CONF = """\
listen_tls = {listen_tls}
listen_tcp = {listen_tcp}
auth_tcp = "none"
auth_tls = "none"
listen_addr = "{address}"
tcp_port = "{port}"
tls_port = "{port}"
auth_unix_rw = "none"
auth_unix_ro = "none"
unix_sock_rw_perms = "0700"
unix_sock_ro_perms = "0700"
host_uuid = "{host_uuid}"
max_workers = 40
log_outputs = "3:file:/var/log/libvirt/libvirtd.log"
"""

_QEMU_CONF = """\
user = "root"
group = "root"
security_driver = "none"
dynamic_ownership = 0
remember_owner = 0
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
vnc_listen = "127.0.0.1"
"""

_PKI_CONF = """\
ca_file = "{pki}/cacert.pem"
cert_file = "{pki}/servercert.pem"
key_file = "{pki}/serverkey.pem"
"""

_QEMU_PKI_CONF = """\
migrate_tls_x509_cert_dir = "{pki}/qemu"
migrate_tls_x509_verify = 1
"""

_ENTER = """\
set -e
for part in {names}; do eval "mount --bind \\"$1/$part\\" \\"\\$bound_$part\\""; done
if [ -n "$hide_kvm" ] && [ -e /dev/kvm ]; then
  mount --bind /etc/libvirt/qemu.conf /dev/kvm && mount -o remount,bind,ro /dev/kvm
fi
if [ -n "$names" ]; then mount --bind "$names" /etc/hosts; fi
if [ -n "$name" ]; then hostname "$name"; fi
exec "$2" $listen --daemon --config /etc/libvirt/libvirtd.conf --pid-file /run/libvirt/libvirtd.pid
"""


@dataclass(frozen=True)
class Listening:
    """Where a private daemon listens for others, and under which host name. ``pki`` is a directory with the certificates to ask for and to show:
    ``cacert.pem``, ``servercert.pem``, ``serverkey.pem`` and the same for a client, and below ``qemu`` as QEMU names them."""

    address: str
    port: int
    host_name: str
    pki: Path | None = None


@dataclass(frozen=True)
class LibvirtdConfig:
    """``use_kvm`` false hides /dev/kvm from a private daemon (by a file that not even root can write): a device that looks
    usable and isn't makes libvirt probe QEMU anew, for seconds, at every definition of a domain."""

    state_dir: Path
    use_kvm: bool
    allow_system: bool = True
    hung_s: float = 60.0
    """A private daemon that has been silent for so long is ended and started again; a busy one never is."""
    listening: Listening | None = None

    @property
    def root(self) -> Path:
        """Where the private daemon's directories are."""
        return self.state_dir / "libvirt"

    @property
    def names(self) -> Path:
        """What is /etc/hosts to the private daemon, where it sends domains by TLS: a certificate bears a name, so a name is what it connects to."""
        return self.root / "hosts"

    @property
    def socket(self) -> Path:
        """The private daemon's socket."""
        return self.root / "run" / "libvirt-sock"


@dataclass(frozen=True)
class Libvirtd:
    """A daemon to connect to. ``why`` says in a sentence which one it is and why."""

    uri: str
    private: bool
    why: str


@asynccontextmanager
async def open_(world: World, config: LibvirtdConfig) -> AsyncIterator[Libvirtd]:
    """Find or start the daemon, and keep a private one running until the block ends; it goes on afterwards.

    Raises:
        Unavailable: it isn't installed or doesn't start; the message has its own words.
        Invalid: the state directory's path is too long for a socket.
    """
    if config.allow_system and not config.root.exists():
        for path in SYSTEM_SOCKETS:
            if answers(path):
                yield Libvirtd("qemu:///system", private=False, why=f"the system's libvirt answers at {path}")
                return
    found = _running_pid(config)
    if found is not None and not _is_configured(config):
        # Its guests go on meanwhile.
        await end_process(found)
        found = None
    if found is None:
        await _start(config)
    uri = f"qemu+unix:///system?socket={config.socket}"
    how = "was running already" if found else "started, because the system runs none"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_supervise, world, config)
        yield Libvirtd(uri, private=True, why=f"a private one in {config.root} ({how})")
        nursery.cancel_scope.cancel()


async def restart_to_show_certificates(config: LibvirtdConfig) -> None:
    """End a private daemon that shows a certificate, which it reads when it starts (libvirt 9.0 reads another's when it is told to read it anew).
    Whoever keeps it running starts it again; its guests go on, a migration doesn't."""
    pid = _running_pid(config)
    if pid is not None and config.listening is not None and config.listening.pki is not None:
        await end_process(pid)


async def stop(config: LibvirtdConfig) -> None:
    """End the private daemon and any QEMU process it has left; there being none succeeds."""
    pid = _running_pid(config)
    if pid is not None:
        await end_process(pid)
    for path in (config.root / "run" / "qemu").glob("*.pid"):
        qemu = find_process(path, "qemu-system-x86_64")
        if qemu is not None:
            await end_process(qemu)


def _running_pid(config: LibvirtdConfig) -> int | None:
    return find_process(config.root / "run" / "libvirtd.pid", "libvirtd")


async def _start(config: LibvirtdConfig) -> None:
    daemon = shutil.which("libvirtd", path="/usr/sbin:/usr/bin:/sbin:/usr/local/sbin")
    if daemon is None:
        raise Unavailable("libvirtd is not installed: apt-get install libvirt-daemon-system qemu-system-x86")
    if len(os.fsencode(config.socket)) > SOCKET_PATH_MAX_BYTES:
        raise Invalid(f"The path {config.socket} is too long for a socket: choose a shorter state directory.")
    _write_configuration(config)
    environment = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "hide_kvm": "" if config.use_kvm else "yes"}
    # A name with a dot is taken as it is; any other would be looked up.
    environment["name"] = f"{config.listening.host_name}.ostro.internal" if config.listening else ""
    environment["listen"] = "--listen" if config.listening else ""
    environment["names"] = str(config.names) if config.listening and config.listening.pki else ""
    environment |= {f"bound_{name}": path for name, path in BOUND.items()}
    enter = _ENTER.format(names=" ".join(BOUND))
    command = [
        "unshare",
        "--mount",
        "--uts",
        "--propagation",
        "slave",
        "sh",
        "-c",
        enter,
        "sh",
        str(config.root),
        daemon,
    ]
    with trio.move_on_after(START_TIMEOUT_S):
        done = await trio.run_process(
            command, check=False, capture_stderr=True, env=environment, start_new_session=True, stdin=subprocess.DEVNULL
        )
        if done.returncode == 0 and answers(config.socket):
            return
        raise Unavailable(f"libvirtd did not start: {_last_words(done.stderr, config)}")
    raise Unavailable(f"libvirtd was not ready in {START_TIMEOUT_S:g} s: {_last_words(b'', config)}")


def _write_configuration(config: LibvirtdConfig) -> None:
    for name, target in BOUND.items():
        (config.root / name).mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
    for path, text in _configuration(config).items():
        path.write_text(text)
    if not config.names.exists():
        config.names.write_text(HOSTS.read_text())


def _configuration(config: LibvirtdConfig) -> dict[Path, str]:
    """The daemon's files."""
    listening = config.listening
    pki = listening.pki if listening else None
    daemon = _DAEMON_CONF.format(
        host_uuid=uuid.uuid5(uuid.UUID(int=uuid.getnode()), str(config.root)),
        listen_tcp=int(listening is not None and pki is None),
        listen_tls=int(pki is not None),
        address=listening.address if listening else "127.0.0.1",
        port=listening.port if listening else 0,
    )
    return {
        config.root / "etc" / "libvirtd.conf": daemon + (_PKI_CONF.format(pki=pki) if pki else ""),
        config.root / "etc" / "qemu.conf": _QEMU_CONF + (_QEMU_PKI_CONF.format(pki=pki) if pki else ""),
    }


def _is_configured(config: LibvirtdConfig) -> bool:
    """Whether the files are what a running daemon was started with."""
    return all(path.exists() and path.read_text() == text for path, text in _configuration(config).items())


def _last_words(stderr: bytes, config: LibvirtdConfig) -> str:
    """What the daemon said last, on its standard error or in its log."""
    if stderr.strip():
        return stderr.decode(errors="replace").strip()[-500:]
    try:
        return (config.root / "log" / "libvirtd.log").read_text(errors="replace").strip()[-500:]
    except FileNotFoundError:
        return "it said nothing"


async def _supervise(world: World, config: LibvirtdConfig) -> None:
    """Start the daemon again whenever it dies, and end it when it hangs. Its guests go on either way."""
    backoff = Backoff(first_s=0.2, most_s=30.0)
    failures = 0
    loop = world.metrics.loop("libvirtd")
    while True:
        pid = _running_pid(config)
        if pid is not None:
            failures = 0
            await _until_dead_or_hung(config, pid)
        log.warning("libvirtd is gone, starting it again", pid=pid)
        try:
            with loop.run():
                await _start(config)
        except (Unavailable, OSError) as error:
            failures += 1
            log.error("libvirtd does not start", reason=str(error), failures=failures)
            await trio.sleep(backoff.delay_s(failures, world.random))


async def _until_dead_or_hung(config: LibvirtdConfig, pid: int) -> None:
    """Return when the daemon has ended, by itself or because it has not answered for ``hung_s``."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_end_when_hung, config, pid)
        await wait_for_end(pid)
        nursery.cancel_scope.cancel()


async def _end_when_hung(config: LibvirtdConfig, pid: int) -> None:
    while True:
        await trio.sleep(config.hung_s / PROBES_PER_DEADLINE)
        with trio.move_on_after(config.hung_s):
            await _probe(config.socket)
            continue
        log.error("libvirtd hangs, ending it", pid=pid, silent_s=config.hung_s)
        # Not kindly: what does not answer does not hear either. The state files are written whole, so nothing is lost.
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        return


async def _probe(path: Path) -> None:
    """Return when the daemon has answered a question that it answers before anything else; never, when it doesn't.

    A daemon that closes the connection instead is alive, too: one that has ended is noticed by its process.
    """
    try:
        async with await trio.open_unix_socket(str(path)) as stream:
            await stream.send_all(ASK_FOR_AUTHENTICATION)
            await stream.receive_some(1)
    except OSError:
        return
    except trio.BrokenResourceError:
        return
