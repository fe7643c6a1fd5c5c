"""``ostro doctor``: what is missing or wrong on this machine, each with its remedy.

A check looks and never changes anything. It is *fine*, a *note* (something will be done without), or *wrong* (servers can't run).
"""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from ostro.cli.ceph import ceph_options, check_ceph
from ostro.cli.findings import Finding, Verdict
from ostro.cli.settings import read_ceph
from ostro.cli.state import StateDir
from ostro.cli.up import DEFAULT_STATE
from ostro.runtime.ceph.config import CephConfig

MEMORY_LEAST_MB = 1024
DISK_LEAST_GB = 5


PROGRAMS = (
    ("libvirtd", "libvirt-daemon-system"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("qemu-img", "qemu-utils"),
    ("ovs-vswitchd", "openvswitch-switch"),
    ("ovsdb-server", "openvswitch-switch"),
    ("ovsdb-tool", "openvswitch-switch"),
)
MODULES = (
    ("ostro._core", "the Rust extension", "Run `make build`."),
    ("libvirt", "the libvirt binding", "Run `make build`; it needs libvirt-dev and pkg-config to compile."),
    ("pyroute2", "the netlink library", "Run `make build`."),
)


def check_python() -> Iterator[Finding]:
    """The interpreter and the parts of Ostro that are compiled."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] < (3, 14)
    yield Finding(
        "Python", Verdict.FINE if good else Verdict.WRONG, version, "" if good else "Use Python 3.11 to 3.13."
    )
    for name, title, remedy in MODULES:
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield Finding(title, Verdict.WRONG, str(error), remedy)
        else:
            yield Finding(title, Verdict.FINE, name)


def check_user() -> Iterator[Finding]:
    """Who runs this."""
    root = os.geteuid() == 0
    remedy = "Run Ostro with sudo, or rehearse with `ostro up --hypervisor fake`."
    yield Finding(
        "user", Verdict.FINE if root else Verdict.WRONG, "root" if root else "not root", "" if root else remedy
    )


def check_programs() -> Iterator[Finding]:
    """The programs that the agent drives."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for program, package in PROGRAMS:
        found = shutil.which(program, path=path)
        if found:
            yield Finding(program, Verdict.FINE, found)
        else:
            yield Finding(program, Verdict.WRONG, "not found", f"apt-get install --no-install-recommends {package}")


def check_kvm() -> Iterator[Finding]:
    """Whether KVM may work. Only a probe at the agent's start can tell that it does."""
    device = Path("/dev/kvm")
    flags = Path("/proc/cpuinfo").read_text()
    virtual = " vmx" in flags or " svm" in flags
    if not device.exists():
        yield Finding(
            "KVM",
            Verdict.NOTE,
            "no /dev/kvm",
            "Servers will run under TCG, slowly. Enable virtualization in the firmware, or nested virtualization, and load kvm_intel or kvm_amd.",
        )
    elif not virtual:
        yield Finding(
            "KVM",
            Verdict.NOTE,
            "/dev/kvm exists, the processor shows no vmx or svm",
            "Servers will run under TCG unless the probe at the start succeeds. Enable nested virtualization.",
        )
    else:
        yield Finding("KVM", Verdict.FINE, "/dev/kvm")


def check_network() -> Iterator[Finding]:
    """Taps and the switch's datapath."""
    tun = Path("/dev/net/tun")
    if tun.exists():
        yield Finding("taps", Verdict.FINE, str(tun))
    else:
        yield Finding("taps", Verdict.WRONG, "no /dev/net/tun", "modprobe tun")
    if Path("/sys/module/openvswitch").exists():
        yield Finding("datapath", Verdict.FINE, "openvswitch kernel module is loaded")
    elif _has_kernel_module("openvswitch"):
        yield Finding("datapath", Verdict.FINE, "openvswitch kernel module can be loaded")
    else:
        yield Finding(
            "datapath",
            Verdict.NOTE,
            "no openvswitch kernel module",
            "The userspace datapath will be used: correct, but slower. Use a kernel that has openvswitch.ko.",
        )


def _has_kernel_module(name: str) -> bool:
    release = os.uname().release
    listing = Path(f"/lib/modules/{release}/modules.dep")
    return listing.exists() and f"/{name}.ko" in listing.read_text()


def check_room(state: Path) -> Iterator[Finding]:
    """Memory and disk."""
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free_mb = int(fields["MemAvailable"].split()[0]) // 1024
    enough = free_mb >= MEMORY_LEAST_MB
    remedy = f"Servers need memory: at least {MEMORY_LEAST_MB} MB should be free."
    yield Finding(
        "memory", Verdict.FINE if enough else Verdict.WRONG, f"{free_mb} MB available", "" if enough else remedy
    )
    place = state
    while not place.exists():
        place = place.parent
    free_gb = shutil.disk_usage(place).free >> 30
    enough = free_gb >= DISK_LEAST_GB
    remedy = f"Images and disks need room: at least {DISK_LEAST_GB} GB. Choose another place with --state."
    yield Finding(
        f"disk at {state}", Verdict.FINE if enough else Verdict.WRONG, f"{free_gb} GB free", "" if enough else remedy
    )


def examine(state: Path, ceph: CephConfig | None = None) -> list[Finding]:
    """Every check, in the order of the report; Ceph's if there is one."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        check_python,
        check_user,
        check_programs,
        check_kvm,
        check_network,
    )
    findings = [finding for check in checks for finding in check()] + list(check_room(state))
    return findings + (list(check_ceph(ceph)) if ceph else [])


COLOURS = {Verdict.FINE: "green", Verdict.NOTE: "yellow", Verdict.WRONG: "red"}


@click.command()
@click.option(
    "--state", default=DEFAULT_STATE, show_default=True, type=click.Path(path_type=Path), help="Directory of all state."
)
@ceph_options
def doctor(state: Path, ceph: CephConfig | None) -> None:
    """Say what is missing or wrong on this machine, each with its remedy."""
    directory = StateDir(state)
    findings = examine(state, ceph or read_ceph(directory) or directory.ceph)
    table = Table(box=None, pad_edge=False)
    for column in ("check", "", "found", "remedy"):
        table.add_column(column)
    for finding in findings:
        colour = COLOURS[finding.verdict]
        table.add_row(finding.what, f"[{colour}]{finding.verdict}[/{colour}]", finding.found, finding.remedy)
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    wrong = sum(finding.verdict is Verdict.WRONG for finding in findings)
    click.echo(f"{wrong} wrong" if wrong else "Nothing stands in the way.")
    sys.exit(1 if wrong else 0)
