"""The ``ostro`` command."""

from __future__ import annotations

import click

from ostro import __version__


@click.group()
@click.version_option(__version__)
def main() -> None:
    """Ostro: an IaaS cloud in one program."""
