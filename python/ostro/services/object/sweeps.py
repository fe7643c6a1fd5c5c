"""What is tidied up behind the object storage's requests."""

from __future__ import annotations

from ostro.services.cloud import Cloud
from ostro.services.object.objects import expire_object
from ostro.store.object_containers import fold_counts, list_changed_containers
from ostro.store.objects import list_expired

AT_ONCE = 200


async def sweep_objects(cloud: Cloud) -> None:
    """Objects whose time is over go, counts are added up, and chunks that nothing refers to any more are deleted."""
    while expired := await cloud.db.read(list_expired, cloud.world.now_us() // 1_000_000, AT_ONCE):
        for container_id, name, id_ in expired:
            await cloud.db.run(expire_object, container_id, name, id_)
    for container_id in await cloud.db.read(list_changed_containers, AT_ONCE):
        await cloud.db.run(fold_counts, container_id)
    await cloud.chunks.collect()


async def sweep_stray_chunks(cloud: Cloud) -> None:
    """What crashes left in the chunk store goes."""
    await cloud.chunks.sweep_strays()
