"""What a demonstration that failed leaves for whoever looks into it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import click


def keep_logs(folder: Path) -> Path:
    """Copy all logs below ``folder``, guests' consoles among them, to where they stay, and say where that is."""
    kept = Path(tempfile.mkdtemp(prefix="ostro-demo-logs-"))
    for log in sorted(folder.rglob("*.log")):
        if log.is_file():
            copy = kept / log.relative_to(folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(log, copy)
    click.echo(f"\nThe logs of all that ran: {kept}", err=True)
    return kept
