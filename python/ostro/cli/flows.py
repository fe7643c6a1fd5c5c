"""``ostro flows``: what this host's switch does with packets, in words."""

from __future__ import annotations

import http.client
import socket
import sys
from itertools import groupby

import click
import orjson
from rich.console import Console
from rich.table import Table

from ostro.cli.client import ApiError, host_and_port
from ostro.cli.state import StateDir
from ostro.cli.up import DEFAULT_STATE

TIMEOUT_S = 60.0


@click.group()
def flows() -> None:
    """This host's flow tables."""


@flows.command()
@click.option("--state", default=DEFAULT_STATE, show_default=True, help="Directory of all state.")
@click.option("--host", default=socket.gethostname, help="The host's name.  [default: this one]")
@click.option("--table", "only", default="", help="Only the table of this name.")
def show(state: str, host: str, only: str) -> None:
    """Print the tables in the order in which packets meet them."""
    directory = StateDir.open(state)
    connection = http.client.HTTPConnection(*host_and_port(directory), timeout=TIMEOUT_S)
    connection.request("GET", f"/agent/v1/hosts/{host}/flows", headers={"X-Agent-Key": directory.agent_key})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    if response.status != 200:
        raise ApiError(f"The control plane answers {response.status}: {body.decode(errors='replace')[:300]}")
    console = Console(width=None if sys.stdout.isatty() else 200, highlight=False, markup=False)
    rows = [row for row in orjson.loads(body)["flows"] if only in ("", row["table_name"])]
    for (number, name), group in groupby(rows, key=lambda row: (row["table"], row["table_name"])):
        table = Table(box=None, pad_edge=False, show_header=False)
        for row in group:
            table.add_row(
                str(row["priority"]), str(row["packets"]), row["match"] or "everything", "-> " + row["actions"]
            )
        console.print(f"table {number} {name}")
        console.print(table)
