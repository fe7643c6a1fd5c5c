"""What the state directory remembers of the audit log, signed: its end, and every end that was a beginning.

::

    audit/key            Ed25519 private key, made at the first record, readable by its owner only
    audit/public         its public key: copy it, and now and then ``head``, to where the administrators of the cloud can't write
    audit/head           the last sealed record's number and digest, replaced after every round
    audit/checkpoints    the same every ``EVERY`` records, and where the chain begins after older records were removed; only appended to

Whoever can write to the database but not here can't shorten or rewrite the log without ``ostro audit verify`` saying so.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ostro.model.errors import Invalid
from ostro.store.audit import Chain

EVERY = 1000
HEAD, BASE = "head", "base"


class Anchor(msgspec.Struct, frozen=True):
    """One signed statement. ``kind`` is ``head`` (the chain was so long) or ``base`` (it begins after this record)."""

    kind: str
    seq: int
    digest: str
    at_us: int
    signature: str = ""

    @property
    def text(self) -> bytes:
        """What is signed."""
        return f"ostro audit {self.kind} {self.seq} {self.digest} {self.at_us}".encode()


def write_whole(path: Path, data: bytes, mode: int) -> None:
    """Put a file in place whole, or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with open(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


class Anchors:
    """The anchors below ``folder``. Blocking."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key: Ed25519PrivateKey | None = None
        self._head_seq = -1
        self._marked: int | None = None

    def _private(self) -> Ed25519PrivateKey:
        if self._key is None:
            path = self._folder / "key"
            if not path.exists():
                self._make(path)
            self._key = Ed25519PrivateKey.from_private_bytes(base64.b64decode(path.read_bytes()))
            public = base64.b64encode(self._key.public_key().public_bytes_raw()) + b"\n"
            if not (self._folder / "public").exists():
                write_whole(self._folder / "public", public, 0o644)
        return self._key

    def _make(self, path: Path) -> None:
        """Make the key. Of several processes that do so at once one wins, and all read what it wrote."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f".key.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(base64.b64encode(Ed25519PrivateKey.generate().private_bytes_raw()) + b"\n")
        try:
            os.link(draft, path)
        except FileExistsError:
            pass  # Another process was first.
        finally:
            draft.unlink()

    def _signed(self, anchor: Anchor) -> bytes:
        signature = base64.b64encode(self._private().sign(anchor.text)).decode()
        return msgspec.json.encode(msgspec.structs.replace(anchor, signature=signature)) + b"\n"

    def anchor(self, chain: Chain, now_us: int) -> None:
        """Sign the end of the chain, and mark it for good every ``EVERY`` records. Nothing happens when it is no other than before."""
        if chain.seq <= self._head_seq or not chain.digest:
            return
        self._private()
        head = self.head()
        if head is not None and head.seq > chain.seq:
            return  # Another process is further, or somebody has shortened the log: what was signed stays.
        anchor = Anchor(HEAD, chain.seq, chain.digest, now_us)
        line = self._signed(anchor)
        write_whole(self._folder / "head", line, 0o644)
        self._head_seq = chain.seq
        if self._marked is None:
            self._marked = max((known.seq for known in self.checkpoints() if known.kind == HEAD), default=0)
        if chain.seq >= self._marked + EVERY:
            self._append(line)
            self._marked = chain.seq

    def rebase(self, seq: int, digest: str, now_us: int) -> None:
        """Sign that the chain begins after this record from now on."""
        self._append(self._signed(Anchor(BASE, seq, digest, now_us)))

    def _append(self, line: bytes) -> None:
        with (self._folder / "checkpoints").open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def head(self) -> Anchor | None:
        """The signed end; None before the first. Raises Invalid when it was tampered with."""
        found = self._read("head")
        return found[0] if found else None

    def checkpoints(self) -> list[Anchor]:
        """Every mark, oldest first. Raises Invalid when one was tampered with."""
        return self._read("checkpoints")

    def _read(self, name: str) -> list[Anchor]:
        path = self._folder / name
        if not path.exists():
            return []
        public = Ed25519PublicKey.from_public_bytes(base64.b64decode((self._folder / "public").read_bytes()))
        found = []
        for number, line in enumerate(path.read_bytes().splitlines(), 1):
            try:
                anchor = msgspec.json.decode(line, type=Anchor)
                public.verify(base64.b64decode(anchor.signature), anchor.text)
            except (msgspec.DecodeError, ValueError, InvalidSignature) as error:
                raise Invalid(f"{path}, line {number}: this is not what was signed.") from error
            found.append(anchor)
        return found
