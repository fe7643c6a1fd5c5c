"""How much memory a long upload takes, measured on the process that serves it."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from ostro.cli.demo.command import DemoCloud
from ostro.cli.demo.swift import Swift, md5_of, noise
from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.testing.ceph import CephCluster, why_not

if reason := why_not():
    pytest.skip(reason, allow_module_level=True)

POOLS = Pools("m-images", "m-volumes", "m-objects")
STREAM_BYTES = 384 << 20
"""Six times what may be held: were a part of the stream kept, it would show."""
MOST_BYTES = 64 << 20


@pytest.fixture
def serving(ceph: CephCluster) -> Iterator[DemoCloud]:
    """A cloud in a process of its own, on Ceph."""
    for name in (POOLS.images, POOLS.volumes):
        ceph.create_pool(name)
    ceph.create_pool(POOLS.objects, "ostro")
    ceph.add_user("ostro-memory", capabilities(POOLS))
    config = CephConfig(ceph.conf, "ostro-memory", POOLS)
    folder = Path(tempfile.mkdtemp(prefix="ostro-memory-"))
    words = ("--ceph", str(config.conf), "--ceph-user", config.user, "--ceph-pools", str(POOLS))
    cloud = DemoCloud(folder / "state", ("--hypervisor", "fake", *words))
    try:
        cloud.start()
        yield cloud
    finally:
        trouble = cloud.stop()
        shutil.rmtree(folder, ignore_errors=True)
        for name in (POOLS.images, POOLS.volumes, POOLS.objects):
            ceph.remove_pool(name)
    assert not trouble


def account(cloud: DemoCloud) -> Swift:
    """The administrator's object store."""
    auth = yaml.safe_load((cloud.state / "clouds.yaml").read_text())["clouds"]["ostro"]["auth"]
    domain = {"id": "default"}
    user = {"name": auth["username"], "password": auth["password"], "domain": domain}
    scope = {"project": {"name": auth["project_name"], "domain": domain}}
    identity = {"methods": ["password"], "password": {"user": user}}
    url = auth["auth_url"].removesuffix("/").removesuffix("/v3") + "/v3/auth/tokens"
    body = json.dumps({"auth": {"identity": identity, "scope": scope}}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        token = answer.headers["X-Subject-Token"]
        catalog = json.load(answer)["token"]["catalog"]
    (endpoints,) = [entry["endpoints"] for entry in catalog if entry["type"] == "object-store"]
    return Swift(next(entry["url"] for entry in endpoints if entry["interface"] == "public"), token)


def memory_bytes(pid: int, what: str) -> int:
    """``VmRSS``, or ``VmHWM``: the most that there ever was."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{what}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(what)


def test_a_long_upload_takes_a_bounded_amount_of_memory(serving: DemoCloud) -> None:
    swift = account(serving)
    assert swift.status("PUT", "box") == 201
    assert swift.put("box/small", noise("s", 100_000), 100_000) == md5_of("s", 100_000)
    # Hashing the password has taken 64 MiB for a moment: forget that peak.
    Path(f"/proc/{serving.pid}/clear_refs").write_text("5")
    before_bytes = memory_bytes(serving.pid, "VmRSS")
    assert swift.put("box/large", noise("l", STREAM_BYTES), STREAM_BYTES) == md5_of("l", STREAM_BYTES)
    assert swift.md5("box/large") == (md5_of("l", STREAM_BYTES), STREAM_BYTES)
    taken_bytes = memory_bytes(serving.pid, "VmHWM") - before_bytes
    assert taken_bytes < MOST_BYTES, f"{taken_bytes >> 20} MiB"
