"""The option that says what leads to physical networks."""

from __future__ import annotations

import click
import pytest

from ostro.cli.physical import parse_physical, physical_words


def test_devices_are_named_by_their_networks() -> None:
    devices = parse_physical(["one=eth1", "two=br-ex"])
    assert devices == {"one": "eth1", "two": "br-ex"}
    assert physical_words(devices) == ["--physical", "one=eth1", "--physical", "two=br-ex"]


@pytest.mark.parametrize("given", [["eth1"], ["=eth1"], ["one="], ["one=eth1", "one=eth2"]])
def test_nonsense_is_refused(given: list[str]) -> None:
    with pytest.raises(click.BadParameter):
        parse_physical(given)
