"""``python -m bench.storage [--seconds N] [--rounds N] [--sizes 4096,...] [--volumes N]``"""

from __future__ import annotations

import argparse
import json
from contextlib import ExitStack
from functools import partial

from bench.api.cloud import LocalCloud
from bench.storage.gateway import Gateway
from bench.storage.objects import SIZES, Server, measure_objects
from bench.storage.raw import Raw
from bench.storage.volumes import measure_volumes
from ostro.runtime.ceph.config import CephConfig, Pools, capabilities
from ostro.testing.ceph import CephCluster, CephOptions

RAW_POOL = "raw"


def prepare(cluster: CephCluster) -> CephConfig:
    """Pools and users."""
    config = CephConfig(cluster.conf, pools=Pools())
    for name in (config.pools.images, config.pools.volumes):
        cluster.create_pool(name)
    for name in (config.pools.objects, RAW_POOL):
        cluster.create_pool(name, "ostro")
    cluster.add_user(config.user, capabilities(config.pools))
    return config


def serve(stack: ExitStack, hypervisor: str, config: CephConfig | None) -> LocalCloud:
    """A cloud that is there until the stack is left."""
    words = []
    if config is not None:
        words = ["--ceph", str(config.conf), "--ceph-user", config.user, "--ceph-pools", str(config.pools)]
    cloud = LocalCloud(hypervisor, words)
    stack.callback(cloud.close)
    cloud.start()
    return cloud


def as_server(name: str, cloud: LocalCloud) -> Server:
    """A cloud's object store."""
    login = cloud.login()
    login.log_in()
    return Server(name, login.client("object-store"), cloud.pids())


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description="Measure storage on a real Ceph: one JSON object a line.")
    parser.add_argument("--seconds", type=int, default=3, help="length of each load of small objects")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)), help="of objects in bytes")
    parser.add_argument("--volumes", type=int, default=100, help="how many at once; 0: none (else root is needed)")
    parser.add_argument("--only", default="ceph,rgw,local,raw", help="which servers of objects")
    options = parser.parse_args()
    sizes = tuple(int(word) for word in options.sizes.split(",") if word)
    with ExitStack() as stack:
        cluster = stack.enter_context(CephCluster(CephOptions(store="bluestore", size_gib=40)))
        config = prepare(cluster)
        servers = []
        if "ceph" in options.only:
            servers.append(as_server("ceph", serve(stack, "fake", config)))
        if "rgw" in options.only:
            gateway = Gateway(cluster)
            stack.callback(gateway.close)
            servers.append(Server("rgw", gateway.client(), gateway.pids))
        if "local" in options.only:
            servers.append(as_server("local", serve(stack, "fake", None)))
        if "raw" in options.only:
            servers.append(Server("raw", None, [], partial(Raw, cluster, RAW_POOL)))
        for line in measure_objects(servers, cluster.pid("osd.0"), options.seconds, options.rounds, sizes):
            print(json.dumps(line), flush=True)
    if options.volumes:
        with ExitStack() as stack:
            cluster = stack.enter_context(CephCluster(CephOptions(store="bluestore", size_gib=40)))
            cloud = serve(stack, "libvirt", prepare(cluster))
            for line in measure_volumes(cloud, cluster.pid("osd.0"), options.volumes):
                print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
