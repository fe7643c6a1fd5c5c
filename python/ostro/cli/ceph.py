"""The options that say which Ceph, and what `ostro doctor` has to say of it.

The first start with ``--ceph`` is remembered in the state directory, because servers and volumes are in that Ceph from then on: later starts,
the agent and ``ostro down`` use the same unless they are told another.
"""

from __future__ import annotations

import errno
import importlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import click

from ostro.cli.findings import Finding, Verdict
from ostro.model.errors import OstroError
from ostro.runtime.ceph.config import (
    DEFAULT_USER,
    CephConfig,
    Pools,
    auth_command,
    caps_command,
    pool_commands,
)

if TYPE_CHECKING:
    from ostro.runtime.ceph.inquiry import Inquiry

P = ParamSpec("P")
T = TypeVar("T")


def ceph_options(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the options; it is called with ``ceph``, a CephConfig or None."""

    @click.option(
        "--ceph",
        "ceph_conf",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="A ceph.conf: keep images, disks, volumes and objects in that Ceph.",
    )
    @click.option("--ceph-user", default=DEFAULT_USER, show_default=True, help="The user of Ceph, without `client.`.")
    @click.option(
        "--ceph-pools",
        "--pools",
        "ceph_pools",
        default=str(Pools()),
        show_default=True,
        help="The pools; what isn't named keeps its default.",
    )
    @wraps(command)
    def wrapped(*args: object, ceph_conf: Path | None, ceph_user: str, ceph_pools: str, **kwargs: object) -> T:
        ceph = None if ceph_conf is None else CephConfig(ceph_conf.absolute(), ceph_user, Pools.parse(ceph_pools))
        return command(*args, ceph=ceph, **kwargs)

    return wrapped


def check_ceph(config: CephConfig) -> Iterator[Finding]:
    """Bindings, QEMU's module, the cluster, the pools, and what the user may do there."""
    missing = list(_check_software())
    yield from missing
    if any(finding.verdict is Verdict.WRONG for finding in missing):
        return
    from ostro.runtime.ceph.inquiry import Inquiry

    try:
        inquiry = Inquiry(config)
    except OstroError as error:
        yield Finding(
            f"Ceph at {config.conf}",
            Verdict.WRONG,
            f"{error.message} {error.detail}".strip(),
            f"Is the monitor running, and is there a key? An administrator of Ceph makes one by: {auth_command(config)}",
        )
        return
    with inquiry:
        yield Finding(f"Ceph at {config.conf}", Verdict.FINE, f"answers {config.entity}, cluster {inquiry.fsid}")
        yield from _check_pools(config, inquiry)


def _check_software() -> Iterator[Finding]:
    for name, package in (("rados", "python3-rados"), ("rbd", "python3-rbd")):
        try:
            importlib.import_module(name)
        except ImportError as error:
            yield Finding(f"{name} binding", Verdict.WRONG, str(error), f"apt-get install {package}, then make build")
        else:
            yield Finding(f"{name} binding", Verdict.FINE, name)
    program = shutil.which("qemu-img")
    formats = subprocess.run([program, "--help"], capture_output=True, text=True, check=False).stdout if program else ""
    if " rbd" in formats:
        yield Finding("QEMU's RBD module", Verdict.FINE, "rbd is among QEMU's formats")
    else:
        yield Finding("QEMU's RBD module", Verdict.WRONG, "not found", "apt-get install qemu-block-extra")


def _check_pools(config: CephConfig, inquiry: Inquiry) -> Iterator[Finding]:
    pools = config.pools
    for name in dict.fromkeys((pools.images, pools.volumes, pools.objects)):
        code = inquiry.try_pool(name, disks=name in (pools.images, pools.volumes))
        title = f"pool {name}"
        if code == 0:
            yield Finding(title, Verdict.FINE, f"{config.entity} may read and write")
        elif code == errno.ENOENT:
            remedy = "; ".join(pool_commands([name], pools.objects))
            yield Finding(title, Verdict.WRONG, "does not exist", remedy)
        elif code in (errno.EPERM, errno.EACCES):
            yield Finding(title, Verdict.WRONG, f"{config.entity} is not allowed to use it", caps_command(config))
        else:
            yield Finding(
                title, Verdict.WRONG, f"does not answer ({errno.errorcode.get(code, code)})", "ceph -s tells why"
            )
    if code := inquiry.try_fencing():
        found = f"{config.entity} may not shut out who has died with a disk ({errno.errorcode.get(code, code)})"
        yield Finding("Ceph's monitor", Verdict.WRONG, found, caps_command(config))
    else:
        yield Finding("Ceph's monitor", Verdict.FINE, f"{config.entity} may shut out who has died with a disk")
