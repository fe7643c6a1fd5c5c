"""How much an operator lets in: ``api.yaml`` in the state directory. The numbers are for one process."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ostro.services.settings import read_settings


class Shedding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A rate of 0 means no bound."""

    active_most: int = 64
    """Requests worked on at once: enough to fill a group commit, few enough that each is done soon."""
    queue_most: int = 1024
    queue_most_s: float = 10.0
    project_rate_per_s: float = 5000.0
    """More than a process can answer; who shares a cloud may want less."""
    project_burst: int = 20_000
    failure_rate_per_s: float = 20.0
    failure_burst: int = 200
    """Failed logins from one address. Behind a proxy all have its address."""
    patient_most: int = 4096
    """Requests that stream, wait or watch on purpose."""
    patient_project_most: int = 1024
    """So many of them may be one project's, or one address's of who has no token."""
    metrics_key: str = ""
    """What Prometheus shows as a bearer token at ``/metrics``; without one only this machine and administrators may look."""

    def __post_init__(self) -> None:
        if min(self.patient_most, self.patient_project_most) < 1:
            raise ValueError("patient_most and patient_project_most must be at least 1")
        if self.active_most < 1 or self.project_burst < 1 or self.failure_burst < 1:
            raise ValueError("active_most and bursts must be at least 1")


def read_shedding(state_dir: Path) -> Shedding:
    """What the operator has set, or what ships. Raises Invalid."""
    return read_settings(state_dir / "api.yaml", Shedding)
