"""Every saga that the engine can run."""

from __future__ import annotations

from ostro.saga.engine import Saga
from ostro.services.block.reverts import revert_saga
from ostro.services.block.sagas import block_sagas
from ostro.services.block.snapshots import snapshot_sagas
from ostro.services.block.uploads import upload_saga
from ostro.services.cloud import Cloud
from ostro.services.compute.evacuation import evacuation_saga
from ostro.services.compute.live_migration import live_migration_saga
from ostro.services.compute.moves import leave_saga
from ostro.services.compute.resizing import resize_sagas
from ostro.services.compute.sagas import compute_sagas


def make_sagas(cloud: Cloud) -> tuple[Saga, ...]:
    """The sagas of every service."""
    return (
        *compute_sagas(cloud.world, cloud.placement),
        live_migration_saga(cloud.world),
        leave_saga(cloud.placement),
        evacuation_saga(),
        *resize_sagas(cloud.world, cloud.placement),
        *block_sagas(cloud.placement),
        *snapshot_sagas(cloud.placement),
        upload_saga(),
        revert_saga(),
    )
