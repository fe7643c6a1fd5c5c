"""``ostro up`` on a Ceph that doesn't answer: Ctrl-C ends it all the same, and what was promised is there at the next start."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import pytest

from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.testing.ceph import CephCluster, CephOptions, why_not
from ostro.testing.up import Up

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

DATA = bytes(range(256)) * (8 << 10)


def test_it_ends_while_uploads_hang_and_starts_again(tmp_path: Path) -> None:
    with CephCluster(CephOptions()) as cluster:
        config = CephConfig(cluster.conf, "ostro", Pools())
        for name in (config.pools.images, config.pools.volumes):
            cluster.create_pool(name)
        cluster.create_pool(config.pools.objects, "ostro")
        cluster.add_user(config.user, capabilities(config.pools))
        (tmp_path / "state").mkdir()
        (tmp_path / "state/ostro.toml").write_text(f'ceph_conf = "{config.conf}"\nceph_user = "{config.user}"\n')
        with Up(tmp_path / "state") as up:
            up.start()
            store = up.connect().object_store
            store.create_container(name="box")
            store.upload_object(container="box", name="kept", data=DATA)
            assert cluster.objects(config.pools.objects), "the settings name this Ceph"

            def put(name: str) -> None:
                with contextlib.suppress(Exception):  # It is cut off.
                    up.connect().object_store.upload_object(container="box", name=name, data=DATA[::-1] + name.encode())

            cluster.freeze("osd.0")
            uploads = [threading.Thread(target=put, args=(f"cut-{number}",), daemon=True) for number in range(4)]
            for upload in uploads:
                upload.start()
            up.interrupt()
            cluster.thaw("osd.0")
            up.start()
            assert up.connect().object_store.download_object("kept", container="box") == DATA
