"""The state directory: everything that a one-machine cloud keeps, in one place.

::

    ostro.db             the store (SQLite)
    admin.password       the administrator's password, made at the first start
    agent.key            the secret that this cloud's agents show
    hypervisor           libvirt or fake, as at the first start
    ceph                 which Ceph, if any, as at the last start with --ceph
    cloud.id             tags what agents make on hosts
    ostro.toml           settings of a cloud whose parts run by themselves, and authority.pem, whose certificates its API has
    agent.toml           what `ostro join` wrote for the agent of a host that has joined such a cloud
    clouds.yaml          for the `openstack` command; cloud `ostro`
    up.lock              held by the running `ostro up`; holds its process id and endpoint
    agent.lock           held by the running `ostro agent`
    images/ chunks/      bytes of images and objects
    host/                what the agent keeps: disks, volumes, cached images, private libvirtd and Open vSwitch

Secrets are readable by their owner only. Files are written whole or not at all.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from dataclasses import dataclass
from pathlib import Path

import orjson
import yaml

from ostro.model.errors import Conflict, OstroError
from ostro.runtime.ceph.config import CephConfig, Pools


class Usage(OstroError):
    """Something is wrong with how the command was called or with the machine; the message says what to do."""


def write_atomic(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put ``data`` at ``path``: after a crash there is the old file or the new one, whole."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


class Lock:
    """An advisory lock on a file, held until the process ends or ``release``. The file tells who holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a+")

    def acquire(self) -> bool:
        """Take the lock if nobody holds it."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self.describe({"pid": os.getpid()})
        return True

    def describe(self, facts: dict[str, object]) -> None:
        """Write who holds the lock, as JSON, in place: the lock belongs to this very file."""
        self._file.seek(0)
        self._file.truncate()
        self._file.write(orjson.dumps({"pid": os.getpid(), **facts}).decode())
        self._file.flush()

    def holder(self) -> dict[str, object]:
        """What the holder wrote; empty if nothing."""
        text = self.path.read_text()
        return dict(orjson.loads(text)) if text else {}

    def release(self) -> None:
        """Let go."""
        self._file.close()


@dataclass(frozen=True)
class StateDir:
    """Paths and small files of a state directory."""

    root: Path

    @classmethod
    def make(cls, path: str | Path) -> StateDir:
        """Create the directory, private to its owner, if it isn't there. Raises Usage when it can't be."""
        root = Path(path).absolute()
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o711)
            (root / "host").mkdir(exist_ok=True, mode=0o711)
        except OSError as error:
            raise Usage(
                f"The state directory {root} can't be made: {error.strerror}. Choose another with --state."
            ) from error
        if not os.access(root, os.W_OK):
            raise Usage(f"The state directory {root} can't be written to. Choose another with --state.")
        return cls(root)

    @classmethod
    def open(cls, path: str | Path) -> StateDir:
        """The directory of a cloud that has been started before. Raises Usage when there is none."""
        root = Path(path).absolute()
        if not (root / "up.lock").exists():
            raise Usage(f"There is no cloud on {root}.")
        return cls(root)

    @property
    def hypervisor(self) -> str:
        """What the cloud was started with; empty before its first start."""
        path = self.root / "hypervisor"
        return path.read_text() if path.exists() else ""

    def keep_hypervisor(self, hypervisor: str) -> None:
        """Remember the choice. Raises Usage for another one than before: its servers would be lost sight of."""
        if self.hypervisor not in ("", hypervisor):
            raise Usage(
                f"The cloud on {self.root} runs its servers by {self.hypervisor}, not {hypervisor}."
                " Start it with the same --hypervisor, or use another --state."
            )
        if not self.hypervisor:
            write_atomic(self.root / "hypervisor", hypervisor.encode())

    @property
    def ceph(self) -> CephConfig | None:
        """The Ceph that the cloud was last told to use."""
        path = self.root / "ceph"
        if not path.exists():
            return None
        conf, user, pools = path.read_text().splitlines()
        return CephConfig(Path(conf), user, Pools.parse(pools))

    def keep_ceph(self, ceph: CephConfig) -> None:
        """Remember the choice."""
        write_atomic(self.root / "ceph", f"{ceph.conf}\n{ceph.user}\n{ceph.pools}\n".encode())

    @property
    def database(self) -> Path:
        return self.root / "ostro.db"

    @property
    def clouds_yaml(self) -> Path:
        return self.root / "clouds.yaml"

    @property
    def host(self) -> Path:
        return self.root / "host"

    def secret(self, name: str, size_bytes: int = 24) -> str:
        """The content of a secret file, made the first time."""
        path = self.root / name
        if not path.exists():
            write_atomic(path, secrets.token_urlsafe(size_bytes).encode(), mode=0o600)
        return path.read_text().strip()

    @property
    def admin_password(self) -> str:
        return self.secret("admin.password", 16)

    @property
    def agent_key(self) -> str:
        return self.secret("agent.key", 32)

    @property
    def cloud_id(self) -> str:
        return self.secret("cloud.id", 6)

    def lock_up(self) -> Lock:
        """The lock of ``ostro up``. Raises Conflict while another one runs on this state."""
        lock = Lock(self.root / "up.lock")
        if not lock.acquire():
            holder = lock.holder()
            raise Conflict(
                f"Another `ostro up` (process {holder.get('pid', '?')}) is running on {self.root}"
                f" and serves {holder.get('endpoint', 'soon')}. Stop it with Ctrl-C, or `ostro down --state {self.root}`."
            )
        return lock

    def write_clouds_yaml(self, endpoint: str, region: str, authority: Path | None = None) -> None:
        """The client configuration of the administrator, cloud ``ostro``. ``authority`` is whose certificate the endpoint has."""
        cloud: dict[str, object] = {
            "auth": {
                "auth_url": f"{endpoint}/identity/v3",
                "username": "admin",
                "password": self.admin_password,
                "project_name": "admin",
                "user_domain_id": "default",
                "project_domain_id": "default",
            },
            "region_name": region,
            "identity_api_version": "3",
            "volume_api_version": "3",
            "interface": "public",
        }
        if authority is not None:
            cloud["cacert"] = str(authority)
        write_atomic(
            self.clouds_yaml, yaml.safe_dump({"clouds": {"ostro": cloud}}, sort_keys=False).encode(), mode=0o600
        )
