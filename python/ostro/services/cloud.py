"""Everything that the services of one process share, built once in ``cli/`` or by a test."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from ostro.model.policy import Policies, read_overrides
from ostro.model.quotas import LimitRules
from ostro.runtime.certificates import Authority
from ostro.runtime.web import Web
from ostro.runtime.world import World
from ostro.services.audit.anchors import Anchors
from ostro.services.audit.log import AuditLog
from ostro.services.block.settings import BlockSettings, read_block
from ostro.services.changes import Changes
from ostro.services.identity.auth import Authenticator
from ostro.services.identity.catalog import Catalogs
from ostro.services.identity.directories import Directories
from ostro.services.identity.logins import Logins
from ostro.services.identity.oidc import Oidc
from ostro.services.identity.passwords import Passwords
from ostro.services.identity.rules import IDENTITY_POLICIES
from ostro.services.identity.sealing import Sealer
from ostro.services.identity.settings import read_identity
from ostro.services.identity.tokens import Tokens
from ostro.services.image.files import ImageFiles, ImageStore
from ostro.services.object.chunks import ChunkStore
from ostro.services.object.chunks.local import LocalChunks
from ostro.services.object.collector import Collector
from ostro.services.object.uploads import UPLOAD_MOST_S, Uploads
from ostro.services.placement.engine import PlacementEngine
from ostro.services.shedding import Shedding, read_shedding
from ostro.store.database import Database

if TYPE_CHECKING:
    from ostro.runtime.ceph.connection import Ceph


@dataclass(frozen=True)
class CloudConfig:
    """What an operator chooses. ``agent_key`` is the secret that agents show; ``cloud_id`` tags
    what agents make on hosts; ``public_url`` overrides the URLs in catalogue and links; ``password_memory_kib`` is what hashing
    a password costs; ``fence_s`` is after how much silence hosts pause servers on shared disks, 0 for never; hosts' certificates are good for ``certificate_s``.
    ``credential_keys`` seal credentials, instead of the file in the state directory. ``alone`` says that no other process serves this cloud. What was
    resized or migrated cold and is not confirmed within ``resize_confirm_window_s`` is confirmed then; 0 is never."""

    state_dir: Path
    agent_key: str
    cloud_id: str = "ostro"
    region: str = "RegionOne"
    public_url: str = ""
    password_memory_kib: int = 65_536
    fence_s: float = 0.0
    resize_confirm_window_s: float = 0.0
    certificate_s: float = 30 * 86_400.0
    credential_keys: tuple[str, ...] = ()
    alone: bool = True


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
    policies: Policies
    authenticator: Authenticator
    logins: Logins
    directories: Directories
    catalogs: Catalogs
    sealer: Sealer
    limits: LimitRules
    shedding: Shedding
    block: BlockSettings
    audit: AuditLog
    changes: Changes
    ceph: Ceph | None = None
    authority: Authority | None = None
    """Signs hosts' certificates, where hosts may join."""

    def new_sealed_key(self) -> str:
        """A fresh secret of 256 bits, sealed, for what may need one."""
        return self.sealer.seal(f"{self.world.random.getrandbits(256):064x}")


def read_policies(state_dir: Path) -> Policies:
    """The policies as they ship, with what the operator's ``policy.yaml`` in the state directory puts in their place. Raises Invalid."""
    path = state_dir / "policy.yaml"
    overrides = read_overrides(yaml.safe_load(path.read_text())) if path.exists() else {}
    return Policies(IDENTITY_POLICIES, overrides)


def build_cloud(
    world: World, db: Database, config: CloudConfig, ceph: Ceph | None = None, authority: Authority | None = None
) -> Cloud:
    """Put the parts together. Nothing is read from the store or started yet. With ``ceph``, bytes are kept there.

    Raises Invalid for an operator's file that can't be read as what it should be.
    """
    shared = not config.alone or (ceph is not None and db.shared)
    grace_s = UPLOAD_MOST_S * 1.5 if shared else 0.0
    chunks = Collector(world, db, _chunk_store(world, config, ceph), grace_s)
    db.doorbell.watch(world.metrics)
    identity = read_identity(config.state_dir)
    tokens = Tokens(world, db, identity.compliance)
    passwords = Passwords(world, config.password_memory_kib)
    sealer = Sealer(world, config.state_dir / "credential.keys", config.credential_keys)
    directories = Directories(world, db, sealer)
    return Cloud(
        world,
        db,
        config,
        tokens,
        passwords,
        images=_image_store(world, config, ceph),
        chunks=chunks,
        uploads=Uploads(chunks),
        placement=PlacementEngine(db),
        policies=read_policies(config.state_dir),
        authenticator=Authenticator(world, db, tokens, passwords, sealer, directories),
        directories=directories,
        logins=Logins(world, db, sealer, Oidc(world, Web()), identity.federation),
        catalogs=Catalogs(db),
        sealer=sealer,
        limits=LimitRules(identity.compliance.enforcement_model, config.region),
        shedding=read_shedding(config.state_dir),
        block=read_block(config.state_dir),
        audit=AuditLog(world, db, Anchors(config.state_dir / "audit")),
        changes=Changes(world, db),
        ceph=ceph,
        authority=authority,
    )


def _chunk_store(world: World, config: CloudConfig, ceph: Ceph | None) -> ChunkStore:
    if ceph is None:
        return LocalChunks(world, config.state_dir / "chunks")
    # Only here, because the bindings need not be there without Ceph.
    from ostro.services.object.chunks.rados import RadosChunks

    return RadosChunks(ceph)


def _image_store(world: World, config: CloudConfig, ceph: Ceph | None) -> ImageStore:
    if ceph is None:
        return ImageFiles(world, config.state_dir / "images")
    # Only here, because the bindings need not be there without Ceph.
    from ostro.services.image.rbd import RbdImages

    return RbdImages(ceph)
