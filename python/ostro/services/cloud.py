"""Everything that the services of one process share, built once in ``cli/`` or by a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ostro.runtime.world import World
from ostro.services.identity.passwords import Passwords
from ostro.services.identity.tokens import Tokens
from ostro.services.image.files import ImageFiles, ImageStore
from ostro.services.object.chunks import ChunkStore
from ostro.services.object.chunks.local import LocalChunks
from ostro.services.object.collector import Collector
from ostro.services.object.uploads import UPLOAD_MOST_S, Uploads
from ostro.services.placement.engine import PlacementEngine
from ostro.store.database import Database

if TYPE_CHECKING:
    from ostro.runtime.ceph.connection import Ceph


@dataclass(frozen=True)
class CloudConfig:
    """What an operator chooses. ``agent_key`` is the secret that agents show; ``cloud_id`` tags
    what agents make on hosts; ``public_url`` overrides the URLs in catalogue and links; ``password_memory_kib`` is what hashing
    a password costs."""

    state_dir: Path
    agent_key: str
    cloud_id: str = "ostro"
    region: str = "RegionOne"
    public_url: str = ""
    password_memory_kib: int = 65_536


@dataclass(frozen=True)
class Cloud:
    """The parts, ready to be used by handlers."""

    world: World
    db: Database
    config: CloudConfig
    tokens: Tokens
    passwords: Passwords
    images: ImageStore
    chunks: Collector
    uploads: Uploads
    placement: PlacementEngine
    ceph: Ceph | None = None


def build_cloud(world: World, db: Database, config: CloudConfig, ceph: Ceph | None = None) -> Cloud:
    """Put the parts together. Nothing is read or started yet. With ``ceph``, bytes are kept there."""
    grace_s = UPLOAD_MOST_S * 1.5 if ceph is not None and db.shared else 0.0
    chunks = Collector(world, db, _chunk_store(world, config, ceph), grace_s)
    return Cloud(
        world,
        db,
        config,
        Tokens(world, db),
        Passwords(world, config.password_memory_kib),
        images=_image_store(config, ceph),
        chunks=chunks,
        uploads=Uploads(chunks),
        placement=PlacementEngine(db),
        ceph=ceph,
    )


def _chunk_store(world: World, config: CloudConfig, ceph: Ceph | None) -> ChunkStore:
    if ceph is None:
        return LocalChunks(world, config.state_dir / "chunks")
    # Only here, because the bindings need not be there without Ceph.
    from ostro.services.object.chunks.rados import RadosChunks

    return RadosChunks(ceph)


def _image_store(config: CloudConfig, ceph: Ceph | None) -> ImageStore:
    if ceph is None:
        return ImageFiles(config.state_dir / "images")
    # Only here, because the bindings need not be there without Ceph.
    from ostro.services.image.rbd import RbdImages

    return RbdImages(ceph)
