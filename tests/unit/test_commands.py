"""What the command says when something goes wrong."""

from __future__ import annotations

import click
import pytest
import trio
from click.testing import CliRunner

from ostro.cli.main import Commands
from ostro.model.errors import Conflict, Unavailable


async def _in_nurseries(*errors: Exception) -> None:
    async def fail(error: Exception) -> None:
        raise error

    async with trio.open_nursery() as outer, trio.open_nursery() as inner:
        for error in errors:
            inner.start_soon(fail, error)
        outer.start_soon(trio.sleep_forever)


def command(*errors: Exception) -> click.Group:
    group = Commands()

    @group.command()
    def go() -> None:
        trio.run(_in_nurseries, *errors)

    return group


def test_an_error_of_ours_is_one_line_wherever_it_was_raised() -> None:
    done = CliRunner().invoke(
        command(Unavailable("QEMU is not installed."), Unavailable("QEMU is not installed.")), "go"
    )
    assert (done.exit_code, done.output) == (1, "ostro: QEMU is not installed.\n")


def test_a_bug_among_them_keeps_its_traceback() -> None:
    with pytest.RaisesGroup(Conflict, ValueError, flatten_subgroups=True):
        CliRunner().invoke(command(Conflict("No."), ValueError("bug")), "go", catch_exceptions=False)
