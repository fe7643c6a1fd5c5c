"""Fetches Debian packages with the machine's own apt and unpacks them into a directory, without installing anything."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

FETCH_TIMEOUT_S = 600
KERNEL_META_PACKAGE = "linux-image-cloud-amd64"
TOOLS = ("busybox-static", "syslinux", "syslinux-common", "mtools")
UNPACKED = "unpacked"
APT = ("apt-get", "-q", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3")


class BuildError(Exception):
    """The guest image could not be built; the message says which step failed and what it said."""


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None, timeout_s: float = 120) -> str:
    """Run one tool to its end and return what it printed. Raises BuildError with its last lines."""
    try:
        done = subprocess.run(
            command, cwd=cwd, env=env, check=False, text=True, timeout=timeout_s, stdout=-1, stderr=subprocess.STDOUT
        )
    except FileNotFoundError as error:
        raise BuildError(f"{command[0]} is not installed on this machine.") from error
    except subprocess.TimeoutExpired as error:
        raise BuildError(f"{command[0]} did not finish in {timeout_s:g} s.") from error
    if done.returncode:
        raise BuildError(f"{' '.join(command)} failed ({done.returncode}): {done.stdout[-2000:].strip()}")
    return done.stdout


def unpacked_packages(cache: Path) -> Path:
    """The directory below ``cache`` that holds the unpacked packages; fetched at the first call. Atomic: all or nothing."""
    done = cache / UNPACKED
    if done.is_dir():
        return done
    work = cache / f"fetch-{os.getpid()}"
    shutil.rmtree(work, ignore_errors=True)
    try:
        (work / UNPACKED).mkdir(parents=True)
        _fetch(work)
        for package in sorted(work.glob("*.deb")):
            run("dpkg-deb", "-x", str(package), str(work / UNPACKED))
        _rename(work / UNPACKED, done)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return done


def _fetch(work: Path) -> None:
    try:
        _download(work)
    except BuildError:
        # The lists may be missing, or name a kernel that the mirror has replaced since.
        run(*APT, "update", timeout_s=FETCH_TIMEOUT_S)
        _download(work)


def _download(work: Path) -> None:
    depends = run("apt-cache", "depends", KERNEL_META_PACKAGE)
    kernels = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line]
    if not kernels:
        raise BuildError(f"apt knows no package {KERNEL_META_PACKAGE}: is this a Debian machine with its sources?")
    run(*APT, "download", kernels[0], *TOOLS, cwd=work, timeout_s=FETCH_TIMEOUT_S)


def _rename(source: Path, target: Path) -> None:
    """Rename, or leave another builder's finished result in place."""
    try:
        source.rename(target)
    except OSError:
        if not target.is_dir():
            raise
