"""What QEMU needs to be a client of Ceph by itself: a configuration file, and the user's key as a secret of libvirt's. Blocks."""

from __future__ import annotations

import configparser
import uuid
from pathlib import Path

import rados

from ostro.model.errors import Unavailable
from ostro.runtime.ceph.config import CephConfig
from ostro.runtime.ceph.errors import translated

_SPACE = uuid.UUID("6f5d1c0e-6d55-4b0f-9a2c-5a0e6f2b7c11")

GUEST_SETTINGS = """
[client]
objecter tick interval = 0.5
objecter timeout = 2
rbd cache = true
rbd cache writethrough until flush = true
admin socket =
log file =
"""
"""No deadline here: a guest waits for its disk as long as it takes, rather than see errors. An OSD that restarts is noticed quickly."""


def secret_id(config: CephConfig) -> str:
    """The UUID under which libvirt has the user's key: the same at every start, so that domains stay as they were defined."""
    return str(uuid.uuid5(_SPACE, f"{config.entity} {config.conf}"))


def write_guest_conf(config: CephConfig, target: Path) -> None:
    """Write the cluster's configuration, and our settings after it, to ``target``."""
    text = config.conf.read_text() + GUEST_SETTINGS
    if not target.exists() or target.read_text() != text:
        target.write_text(text)


def find_key(config: CephConfig) -> str:
    """The user's key in base64. Raises Unavailable when it can't be found, with where it was looked for."""
    with translated(str(config.conf)):
        cluster = rados.Rados(conffile=str(config.conf), name=config.entity)
        given, places = cluster.conf_get("key"), cluster.conf_get("keyring")
        cluster.shutdown()
    if given:
        return str(given)
    for place in filter(None, str(places).split(",")):
        key = _key_in(Path(place), config.entity)
        if key:
            return key
    raise Unavailable(f"There is no key of {config.entity} in {places}.", retry_after_s=60)


def _key_in(path: Path, entity: str) -> str:
    keyring = configparser.ConfigParser(strict=False, interpolation=None)
    try:
        keyring.read_string("\n".join(line.strip() for line in path.read_text().splitlines()))
    except OSError:
        return ""
    return keyring.get(entity, "key", fallback="")
