"""A real slapd for tests: one tree in a temporary folder, on a free port of the loopback, without the system's service."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import ldap

from ostro.model.errors import Bug
from ostro.testing.certificates import make_certificate
from ostro.testing.processes import freeze

SLAPD = Path("/usr/sbin/slapd")
SUFFIX = "dc=acme,dc=example"
ROOT_DN = f"cn=admin,{SUFFIX}"
ROOT_PASSWORD = "root-secret"
START_S = 60.0
ATTEMPTS = 5
CONFIGURATION = """
include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload back_monitor
pidfile {folder}/slapd.pid
sizelimit 1000
disallow bind_anon
TLSCertificateFile {folder}/certificate.pem
TLSCertificateKeyFile {folder}/key.pem
database mdb
suffix "{suffix}"
rootdn "{root}"
rootpw {password}
directory {folder}/data
maxsize 33554432
index objectClass,uid,cn,sn,member eq
access to attrs=userPassword by anonymous auth by * none
access to * by * read
database monitor
access to * by * read
"""


def why_not() -> str:
    """Why there can be no slapd on this machine; empty when there can."""
    return "" if SLAPD.exists() else "slapd is not installed"


class Slapd:
    """A running server with ``ou=Users`` and ``ou=Groups``."""

    def __enter__(self) -> Slapd:
        self._folder = Path(tempfile.mkdtemp(prefix="ostro-slapd-"))
        (self._folder / "data").mkdir()
        # Under another path, because the system may confine the one it installed to its own folders.
        self._binary = self._folder / "slapd"
        shutil.copy2(SLAPD, self._binary)
        # The library takes "localhost" for the name of the machine, so the certificate is for the address.
        self.certificate, _key = make_certificate(self._folder, address="127.0.0.1")
        text = CONFIGURATION.format(folder=self._folder, suffix=SUFFIX, root=ROOT_DN, password=ROOT_PASSWORD)
        (self._folder / "slapd.conf").write_text(text)
        self.port = 0
        self.start()
        try:
            for unit in ("Users", "Groups"):
                self.add(f"ou={unit},{SUFFIX}", objectClass="organizationalUnit", ou=unit)
        except ldap.LDAPError:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.resume()
        self.stop()
        shutil.rmtree(self._folder)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"ldap://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it answers; on the same port when it has had one."""
        for _ in range(ATTEMPTS):
            port = self.port or _free_port()
            words = [
                str(self._binary),
                "-f",
                str(self._folder / "slapd.conf"),
                "-h",
                f"ldap://127.0.0.1:{port}",
                "-d",
                "0",
            ]
            self._process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            self.port = port
            if self._answers():
                self._make_root()
                return
            self.port = 0
        raise Bug("slapd did not start")

    def _make_root(self) -> None:
        try:
            with self._connect() as connection:
                if not self._exists(connection):
                    connection.add_s(SUFFIX, _entry(objectClass=["domain"], dc="acme"))
        except ldap.LDAPError:
            self.stop()
            raise

    def _exists(self, connection: Any) -> bool:
        try:
            return bool(connection.search_s(SUFFIX, ldap.SCOPE_BASE))
        except ldap.NO_SUCH_OBJECT:
            return False

    def _answers(self) -> bool:
        """Wait until it listens; False when it has ended."""
        with socket.socket() as probe:
            probe.settimeout(START_S)
            while self._process.poll() is None:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return True
                try:
                    self._process.wait(0.05)
                except subprocess.TimeoutExpired:
                    continue
        return False

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait()

    def pause(self) -> None:
        """Let it hang: connections are taken, and nothing is answered."""
        freeze(self._process.pid)

    def resume(self) -> None:
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    @contextmanager
    def _connect(self) -> Iterator[Any]:
        connection = ldap.initialize(self.url)
        connection.simple_bind_s(ROOT_DN, ROOT_PASSWORD)
        yield connection
        connection.unbind_s()

    def add(self, dn: str, **attributes: str | list[str]) -> None:
        """Add an entry."""
        with self._connect() as connection:
            connection.add_s(dn, _entry(**attributes))

    def change(self, dn: str, **attributes: str | list[str]) -> None:
        """Replace attributes of an entry."""
        with self._connect() as connection:
            connection.modify_s(dn, [(ldap.MOD_REPLACE, name, _values(value)) for name, value in attributes.items()])

    def delete(self, dn: str) -> None:
        """Remove an entry."""
        with self._connect() as connection:
            connection.delete_s(dn)

    def count_binds(self) -> int:
        """How often somebody has tried to log in so far."""
        with self._connect() as connection:
            place = "cn=Bind,cn=Operations,cn=Monitor"
            ((_dn, attributes),) = connection.search_s(place, ldap.SCOPE_BASE, attrlist=["monitorOpCompleted"])
        return int(attributes["monitorOpCompleted"][0])

    def add_user(self, uid: str, password: str, name: str = "", **more: str | list[str]) -> str:
        """Add a user; its DN."""
        dn = f"uid={uid},ou=Users,{SUFFIX}"
        attributes = {"uid": uid, "cn": name or uid, "sn": name or uid, "userPassword": password, **more}
        self.add(dn, objectClass="inetOrgPerson", **attributes)
        return dn

    def add_group(self, name: str, *members: str) -> str:
        """Add a group; its DN."""
        dn = f"cn={name},ou=Groups,{SUFFIX}"
        self.add(dn, objectClass="groupOfNames", cn=name, member=list(members))
        return dn


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _values(value: str | list[str]) -> list[bytes]:
    return [one.encode() for one in ([value] if isinstance(value, str) else value)]


def _entry(**attributes: str | list[str]) -> list[tuple[str, list[bytes]]]:
    return [(name, _values(value)) for name, value in attributes.items()]
