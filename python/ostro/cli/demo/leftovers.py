"""What a cloud may leave on a machine, so that it can be shown that it leaves nothing."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Traces:
    """Names of things that exist on the machine now."""

    links: frozenset[str]
    mounts: frozenset[str]
    namespaces: frozenset[str]
    processes: frozenset[str]
    domains: frozenset[str]
    files: frozenset[str]

    def left_since(self, before: Traces) -> list[str]:
        """What is here now and was not before, in words."""
        pairs = (
            ("link", self.links - before.links),
            ("mount", self.mounts - before.mounts),
            ("network namespace", self.namespaces - before.namespaces),
            ("process", self.processes - before.processes),
            ("domain", self.domains - before.domains),
            ("file", self.files - before.files),
        )
        return [f"{kind} {name}" for kind, names in pairs for name in sorted(names)]


def find_traces(state: Path) -> Traces:
    """Look at the machine. Processes count when their command line names the state directory, and files when they are below it."""
    return Traces(
        links=frozenset(os.listdir("/sys/class/net")),
        mounts=frozenset(line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()),
        namespaces=_listed("/run/netns"),
        processes=frozenset(_processes(str(state))),
        domains=_listed("/run/libvirt/qemu", ".pid") | _listed("/etc/libvirt/qemu", ".xml"),
        files=frozenset(str(path) for path in state.rglob("*")) if state.exists() else frozenset(),
    )


def _listed(folder: str, ending: str = "") -> frozenset[str]:
    path = Path(folder)
    return frozenset(name for name in os.listdir(path) if name.endswith(ending)) if path.is_dir() else frozenset()


def _processes(needle: str) -> list[str]:
    """Processes other than this one and its parents whose command line holds ``needle``."""
    mine = set()
    pid = os.getpid()
    while pid > 1:
        mine.add(pid)
        pid = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
    found = []
    for entry in os.listdir("/proc"):
        if not entry.isdigit() or int(entry) in mine:
            continue
        try:
            words = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except (FileNotFoundError, ProcessLookupError):
            continue  # It ended while we were looking.
        if needle in words:
            found.append(f"{entry}: {words[:120]}")
    return found
