"""No server runs twice, and no volume has two writers: seen from the hosts' hypervisors themselves, at every change.

A paused domain writes nothing: a host that has lost the control plane may have one while its server runs elsewhere, and must never let it go on.
A server whose disks are a host's own has other disks where it is evacuated to, so two of it are never on one disk: `excuse` says that it is evacuated.
"""

from __future__ import annotations

from collections.abc import Callable

from ostro.agent.drivers.hypervisor import Domain
from ostro.model.wishes import Power

Complain = Callable[[str], None]


class Incarnations:
    """The book of what runs where. `see` complains at the very change that makes two of one."""

    def __init__(self, complain: Complain) -> None:
        self._complain = complain
        self._servers: dict[str, set[str]] = {}
        self._writers: dict[str, set[tuple[str, str]]] = {}
        self._shared: set[tuple[str, str]] = set()
        self._excused: set[str] = set()

    def excuse(self, server_id: str) -> None:
        """The server is evacuated from a host that may still run it, on disks of its own."""
        self._excused.add(server_id)

    def see(self, host: str, server_id: str, domain: Domain | None) -> None:
        """A host's domain is now like this; None when it is gone."""
        self._forget(host, server_id)
        if domain is None or domain.power is not Power.ON:
            return
        hosts = self._servers.setdefault(server_id, set())
        hosts.add(host)
        if domain.shared:
            self._shared.add((host, server_id))
        one_disk = server_id not in self._excused or any((place, server_id) in self._shared for place in hosts)
        if len(hosts) > 1 and one_disk:
            self._complain(f"server {server_id} runs on {', '.join(sorted(hosts))}")
        for volume_id in domain.attached:
            writers = self._writers.setdefault(volume_id, set())
            writers.add((host, server_id))
            if len(writers) > 1:
                words = ", ".join(f"{server} on {place}" for place, server in sorted(writers))
                self._complain(f"volume {volume_id} is open in {words}")

    def running(self) -> dict[str, str]:
        """Server -> the host that it runs on."""
        return {server_id: min(hosts) for server_id, hosts in self._servers.items()}

    def _forget(self, host: str, server_id: str) -> None:
        hosts = self._servers.get(server_id)
        if hosts is not None:
            hosts.discard(host)
            if not hosts:
                del self._servers[server_id]
        writer = (host, server_id)
        self._shared.discard(writer)
        for volume_id in [id_ for id_, writers in self._writers.items() if writer in writers]:
            self._writers[volume_id].discard(writer)
            if not self._writers[volume_id]:
                del self._writers[volume_id]
