"""Imports point one way, and some things are imported in one place only."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "ostro"

ONLY_IN: dict[str, tuple[str, ...]] = {
    "ostro._core": ("services/placement", "services/object", "services/image", "agent/drivers"),
    "sqlite3": ("store/sqlite.py",),
    "psycopg": (
        "store/postgres.py",
        "store/postgres_servers.py",
        "store/postgres_session.py",
        "store/postgres_writer.py",
        "testing/postgres.py",
    ),
    "quart": ("http",),
    "quart_trio": ("http", "testing"),
    "hypercorn": ("http",),
    "libvirt": ("agent/drivers/hypervisor",),
    "pyroute2": ("agent/drivers",),
    "rados": ("runtime/ceph", "testing/ceph"),
    "rbd": ("runtime/ceph", "agent/drivers/block"),
    "jsonschema_rs": ("http/schema.py",),
    "argon2": ("services/identity/passwords.py",),
    "prometheus_client": ("runtime/metrics.py",),
    "joserfc": ("services/identity/oidc.py", "testing/oidc_provider.py"),
    "authlib": ("testing/oidc_provider.py",),
    "ldap": ("services/identity/ldap.py", "testing/slapd.py"),
    "flask": ("testing/oidc_provider.py",),
}
"""Module -> the folders and files below ``ostro`` that may import it."""


def imports_of(path: Path) -> Iterator[str]:
    """Every module that a file imports, ``from a import b`` as ``a`` and ``a.b``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def importers_of(module: str) -> set[str]:
    """Files below ``ostro`` that import the module or a part of it."""
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        for name in imports_of(path)
        if name == module or name.startswith(module + ".")
    }


def test_layers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None)
    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out


@pytest.mark.parametrize("module", ONLY_IN)
def test_imported_only_where_it_belongs(module: str) -> None:
    allowed = ONLY_IN[module]
    strangers = [
        path
        for path in importers_of(module)
        if not any(path == place or path.startswith(place + "/") for place in allowed)
    ]
    assert strangers == []


def test_the_program_starts_without_libldap() -> None:
    """It looks up the machine's own name as it loads, which may take ten seconds."""
    shown = "import sys, ostro.cli.main, ostro.http.app, ostro.services.cloud; print('ldap' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def crate_manifests() -> dict[str, dict[str, object]]:
    """Crate folder -> its Cargo.toml."""
    return {path.parent.name: tomllib.loads(path.read_text()) for path in sorted((ROOT / "rust").glob("*/Cargo.toml"))}


def test_only_the_python_crate_knows_python() -> None:
    users = [
        crate
        for crate, manifest in crate_manifests().items()
        if {"pyo3", "pythonize"} & set(manifest.get("dependencies", {}))  # type: ignore[call-overload]
    ]
    assert users == ["python"]


def test_only_the_io_crate_may_be_unsafe() -> None:
    """The crate ``python`` has none of its own, but pyo3's macros expand to it, so it can't forbid the word."""
    free = [
        crate
        for crate in crate_manifests()
        if "#![forbid(unsafe_code)]" not in (ROOT / "rust" / crate / "src" / "lib.rs").read_text()
    ]
    assert set(free) <= {"openflow", "python"}
    for path in (ROOT / "rust" / "python" / "src").rglob("*.rs"):
        assert "unsafe " not in path.read_text(), path


def test_pure_crates_do_no_io() -> None:
    for crate in ("placement", "flow", "chunk"):
        for path in (ROOT / "rust" / crate / "src").rglob("*.rs"):
            source = path.read_text().split("#[cfg(test)]")[0]
            for word in ("std::fs", "std::net", "std::process", "std::thread", "std::time::SystemTime"):
                assert word not in source, f"{path} uses {word}"
