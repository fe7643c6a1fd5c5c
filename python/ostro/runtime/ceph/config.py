"""Which Ceph, as whom, and where in it. Pure: the bindings are not needed to read this."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path

from ostro.model.errors import Invalid

DEFAULT_USER = "ostro"


@dataclass(frozen=True)
class Pools:
    """Pool names by what they hold: images, disks and volumes of servers (RBD), and chunks of objects (RADOS)."""

    images: str = "ostro-images"
    volumes: str = "ostro-volumes"
    objects: str = "ostro-objects"

    @classmethod
    def parse(cls, text: str) -> Pools:
        """From ``images=A,volumes=B,objects=C``; what isn't named keeps its default. Raises Invalid."""
        known = {part.name for part in fields(cls)}
        chosen = {}
        for word in filter(None, text.split(",")):
            use, _, name = word.partition("=")
            if use not in known or not name:
                raise Invalid(f"{word!r} is not a pool: write {'=NAME,'.join(sorted(known))}=NAME.")
            chosen[use] = name
        return cls(**chosen)

    def __str__(self) -> str:
        return ",".join(f"{part.name}={getattr(self, part.name)}" for part in fields(self))


@dataclass(frozen=True)
class CephConfig:
    """``conf`` is a ceph.conf whose keyring setting leads to the key of ``client.<user>``."""

    conf: Path
    user: str = DEFAULT_USER
    pools: Pools = field(default_factory=Pools)

    @property
    def entity(self) -> str:
        """The user as Ceph names it."""
        return f"client.{self.user}"


def capabilities(pools: Pools) -> dict[str, str]:
    """The least that Ostro needs: RBD in two pools, plain objects in the third, and nothing else anywhere.

    ``profile rbd`` for the monitor also lets a client fence one that died with an image's lock in its hands.
    """
    rbd = ", ".join(f"profile rbd pool={name}" for name in dict.fromkeys((pools.images, pools.volumes)))
    return {"mon": "profile rbd", "osd": f"{rbd}, allow rw pool={pools.objects}", "mgr": "profile rbd"}


def auth_command(config: CephConfig, keyring: str = "") -> str:
    """The shell command by which an administrator of Ceph grants just that."""
    words = ["ceph", "auth", "get-or-create", config.entity]
    for service, caps in capabilities(config.pools).items():
        words += [service, caps]
    command = shlex.join(words)
    return f"{command} -o {shlex.quote(keyring or f'/etc/ceph/ceph.{config.entity}.keyring')}"


def caps_command(config: CephConfig) -> str:
    """The shell command that corrects what an existing user may do."""
    words = ["ceph", "auth", "caps", config.entity]
    for service, caps in capabilities(config.pools).items():
        words += [service, caps]
    return shlex.join(words)


def pool_commands(names: Iterable[str], objects: str) -> list[str]:
    """The shell commands that make missing pools."""
    out = []
    for name in names:
        application = "ostro" if name == objects else "rbd"
        out.append(f"ceph osd pool create {shlex.quote(name)}")
        out.append(f"ceph osd pool application enable {shlex.quote(name)} {application}")
    return out
