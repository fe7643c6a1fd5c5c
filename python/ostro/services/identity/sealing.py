"""Sealing secrets that must be read again: credentials' blobs and OAuth consumers' secrets. Fernet, with keys outside the database.

``credential.keys`` in the state directory holds one key a line, the newest first; it is made when something is sealed for the first time, readable by
its owner only. Whoever has the database alone reads nothing. Prepend a key to rotate: older keys go on reading. Where several machines serve one
cloud the keys come from the store instead, sealed by the secret that the machines share.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography.fernet import Fernet, InvalidToken, MultiFernet

from ostro.model.errors import Bug, Unavailable
from ostro.runtime.world import World


class Sealer:
    """Seals and opens texts for one process."""

    def __init__(self, world: World, path: Path, keys: Sequence[str] = ()) -> None:
        self._world = world
        self._path = path
        self._fernet = MultiFernet([Fernet(key) for key in keys]) if keys else None

    def _keys(self) -> MultiFernet:
        if self._fernet is None:
            if not self._path.exists():
                self._make()
            words = self._path.read_text().split()
            try:
                self._fernet = MultiFernet([Fernet(word) for word in words])
            except ValueError as error:
                raise Unavailable("The keys of credentials can't be read.", detail=str(error)) from error
        return self._fernet

    def _make(self) -> None:
        """Write a first key. Of several processes that do so at once one wins, and all read what it wrote."""
        key = base64.urlsafe_b64encode(self._world.random.getrandbits(256).to_bytes(32, "big"))
        draft = self._path.with_suffix(f".{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(handle, "wb") as file:
            file.write(key + b"\n")
        try:
            os.link(draft, self._path)
        except FileExistsError:
            pass  # Another process was first.
        finally:
            draft.unlink()

    def seal(self, text: str) -> str:
        """The sealed form of a text."""
        return self._keys().encrypt(text.encode()).decode()

    def open(self, sealed: str) -> str:
        """The text of a sealed form."""
        try:
            return self._keys().decrypt(sealed).decode()
        except InvalidToken as error:
            raise Bug("A sealed secret does not fit any key in credential.keys.") from error
