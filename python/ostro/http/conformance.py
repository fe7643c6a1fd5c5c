"""CONFORMANCE.md: every operation of OpenStack's API references, as full, partial or absent, with the test that proves it.

Three lists below ``api/reference`` are read. ``<service>.txt`` names upstream's operations, one a line: method, path below the service's
canonical prefix, and the action where one path has many. ``proofs.txt`` names for each operation the test that saw it succeed; ``make
proofs`` writes it from a run of the API tests. ``partial.txt`` says what an operation lacks. What no test has seen succeed is absent:
nothing is full by declaration.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TITLES = {
    "identity": "Identity (Keystone v3)",
    "compute": "Compute (Nova v2.1)",
    "placement": "Placement",
    "network": "Network (Neutron v2.0)",
    "image": "Image (Glance v2)",
    "volume": "Block Storage (Cinder v3)",
    "object": "Object Storage (Swift v1)",
}
HEAD = """\
# Conformance

Every operation of OpenStack's API references and what this program makes of it. Written by `make api` from `api/reference`: nothing is called
full unless the named test, in `tests/api`, has seen it succeed. **full**: as the reference says. **partial**: works, but for what is said
beside it. **absent**: answered by 404, 405 or 501 in the service's own shape.
"""
_NAME = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, order=True)
class Operation:
    """One operation of one service; ``action`` is the verb in the body of those paths that have several."""

    service: str
    path: str
    method: str
    action: str = ""

    @property
    def key(self) -> str:
        """The same for the same operation, whatever its parameters are called."""
        words = [self.service, self.method, _NAME.sub("{}", self.path) or "/", self.action]
        return " ".join(word for word in words if word)

    @property
    def text(self) -> str:
        """As people write it."""
        return f"{self.method} {self.path}" + (f" ({self.action})" if self.action else "")


def read_operations(folder: Path) -> list[Operation]:
    """Upstream's operations, by service in the order of ``TITLES`` and then by path."""
    out: list[Operation] = []
    for service in TITLES:
        for line in (folder / f"{service}.txt").read_text().splitlines():
            method, path, *action = line.split()
            out.append(Operation(service, path, method, *action))
    return out


def read_notes(path: Path) -> dict[str, str]:
    """Lines of ``KEY<tab>TEXT``."""
    return dict(line.split("\t", 1) for line in path.read_text().splitlines() if line and not line.startswith("#"))


def write_notes(path: Path, notes: Mapping[str, str]) -> None:
    """The opposite of ``read_notes``."""
    path.write_text("".join(f"{key}\t{text}\n" for key, text in sorted(notes.items())))


def make_conformance(operations: Iterable[Operation], proofs: Mapping[str, str], partial: Mapping[str, str]) -> str:
    """The page."""
    by_service: dict[str, list[Operation]] = {service: [] for service in TITLES}
    for operation in operations:
        by_service[operation.service].append(operation)
    summary, sections = [], []
    for service, title in TITLES.items():
        rows = [_row(operation, proofs, partial) for operation in by_service[service]]
        counts = {state: sum(row[1] == state for row in rows) for state in ("full", "partial", "absent")}
        summary.append(f"| {title} | {counts['full']} | {counts['partial']} | {counts['absent']} |")
        table = "\n".join(f"| `{text}` | {state} | {note} |" for text, state, note in rows)
        sections.append(f"## {title}\n\n| operation | | test, or what is missing |\n|---|---|---|\n{table}\n")
    head = "\n".join(["| service | full | partial | absent |", "|---|---|---|---|", *summary])
    return f"{HEAD}\n{head}\n\n" + "\n".join(sections)


def _row(operation: Operation, proofs: Mapping[str, str], partial: Mapping[str, str]) -> tuple[str, str, str]:
    key = operation.key
    proof, lack = proofs.get(key, ""), partial.get(key, "")
    if not proof and operation.method == "HEAD":
        # The frame answers every HEAD from the GET of the same path.
        proof = proofs.get(key.replace(" HEAD ", " GET ", 1), "")
    if not proof:
        return operation.text, "absent", ""
    if lack:
        return operation.text, "partial", f"{lack} `{proof}`"
    return operation.text, "full", f"`{proof}`"


def make_page(folder: Path) -> str:
    """The page made from the lists in ``folder``."""
    return make_conformance(
        read_operations(folder), read_notes(folder / "proofs.txt"), read_notes(folder / "partial.txt")
    )
