"""``python -m bench.api [--libvirt] [--seconds N] [--servers N] [--providers N] [--auth-url URL --password P]``"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterable

from bench.api.candidates import measure_candidates
from bench.api.cloud import Floor, LocalCloud, Login
from bench.api.measures import (
    Lab,
    Result,
    measure_floor,
    measure_libvirt,
    measure_overhead,
    measure_ports,
    measure_servers,
    measure_start,
    measure_tokens,
)
from bench.api.overload import measure_overload


def show(results: Iterable[Result]) -> None:
    """Print each result as it comes."""
    for result in results:
        print(json.dumps(result.line()), flush=True)


def measure_api(lab: Lab) -> None:
    """Everything that any cloud can be asked."""
    show(measure_tokens(lab))
    lab.furnish()
    show(measure_servers(lab))
    show(measure_ports(lab))


def run_fake(options: argparse.Namespace) -> None:
    """A cloud of our own with the fake hypervisor."""
    cloud = LocalCloud("fake")
    try:
        show(measure_start(cloud))
        lab = Lab(cloud.login(), options.seconds, options.servers)
        with Floor() as floor:
            show(measure_floor(lab, floor))
            measure_api(lab)
            show(measure_overhead(lab, floor))
            show(measure_overload(lab, cloud.pids()[:1]))
            show(measure_candidates(lab, options.providers))
    finally:
        cloud.close()


def run_libvirt(options: argparse.Namespace) -> None:
    """A cloud of our own with real domains."""
    cloud = LocalCloud("libvirt")
    try:
        cloud.start()
        cloud.wait_for_host()
        seed = [sys.executable, "-m", "ostro", "seed", "--state", str(cloud.state)]
        subprocess.run(seed, check=True, stdout=subprocess.DEVNULL)
        lab = Lab(cloud.login(), options.seconds, options.servers)
        (image,) = lab.image.call("GET", "/v2/images?name=tiny")["images"]
        show(measure_libvirt(lab, image["id"]))
    finally:
        cloud.close()


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description="Measure the API: one JSON object a line.")
    parser.add_argument("--seconds", type=int, default=5, help="length of each load")
    parser.add_argument("--servers", type=int, default=200, help="servers made at once")
    parser.add_argument("--providers", type=int, default=10_000, help="resource providers made for placement at most")
    parser.add_argument("--libvirt", action="store_true", help="also measure real domains (root)")
    parser.add_argument("--auth-url", default="", help="an Identity v3 URL: measure that cloud instead of starting one")
    parser.add_argument("--user", default="admin")
    parser.add_argument("--password", default="")
    options = parser.parse_args()
    if options.auth_url:
        lab = Lab(Login(options.auth_url, options.user, options.password), options.seconds, options.servers)
        measure_api(lab)
        show(measure_candidates(lab, options.providers))
        return
    run_fake(options)
    if options.libvirt:
        run_libvirt(options)


main()
