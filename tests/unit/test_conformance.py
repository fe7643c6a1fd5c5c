"""CONFORMANCE.md is the one that its lists make, and what they say of the tests is so."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

from ostro.http.catalog import SERVICES
from ostro.http.conformance import Operation, make_conformance, make_page, read_notes, read_operations

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "api" / "reference"


@cache
def names_in(file: str) -> frozenset[str]:
    """Names of the tests in a file, those in classes with their class."""
    out: set[str] = set()
    for node in ast.parse((ROOT / file).read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            out.add(node.name)
        if isinstance(node, ast.ClassDef):
            out |= {
                f"{node.name}::{n.name}" for n in node.body if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
            }
    return frozenset(out)


def test_the_page_is_current() -> None:
    assert (ROOT / "api" / "CONFORMANCE.md").read_text() == make_page(REFERENCE), "run `make api`"


def test_every_proof_is_a_test() -> None:
    for key, test in read_notes(REFERENCE / "proofs.txt").items():
        file, _, name = test.partition("::")
        assert (ROOT / file).exists() and name in names_in(file), f"{key}: {test} is gone; run `make proofs`"


def test_every_proof_is_of_a_route() -> None:
    keys = {
        Operation(service.name.partition("-")[0], route.path, route.method).key
        for service in SERVICES
        for route in service.routes
    }
    for key in read_notes(REFERENCE / "proofs.txt"):
        service, method, path, *_action = key.split()
        assert f"{service} {method} {path}" in keys, f"{key} is no route any more; run `make proofs`"


def test_every_lack_is_of_an_operation() -> None:
    keys = {operation.key for operation in read_operations(REFERENCE)}
    assert keys >= read_notes(REFERENCE / "partial.txt").keys()


def test_full_partial_absent() -> None:
    operations = [
        Operation("compute", "/a/{x}", "GET"),
        Operation("compute", "/a/{x}", "HEAD"),
        Operation("compute", "/a/{x}/action", "POST", "fly"),
        Operation("compute", "/a/{x}/action", "POST", "dive"),
    ]
    proofs = {"compute GET /a/{}": "t::a", "compute POST /a/{}/action fly": "t::b"}
    page = make_conformance(operations, proofs, {"compute POST /a/{}/action fly": "Only low."})
    assert "| `GET /a/{x}` | full | `t::a` |" in page
    assert "| `HEAD /a/{x}` | full | `t::a` |" in page
    assert "| `POST /a/{x}/action (fly)` | partial | Only low. `t::b` |" in page
    assert "| `POST /a/{x}/action (dive)` | absent |  |" in page
    assert "| Compute (Nova v2.1) | 2 | 1 | 1 |" in page
