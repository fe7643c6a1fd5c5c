"""The option that says which link device or bridge leads to each physical network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import TypeVar

import click

T = TypeVar("T")


def parse_physical(given: Sequence[str]) -> dict[str, str]:
    """Devices by physical network.

    Raises:
        click.BadParameter: one isn't of the form NAME=DEVICE, or a name comes twice.
    """
    devices: dict[str, str] = {}
    for text in given:
        name, _, device = text.partition("=")
        if not name or not device:
            raise click.BadParameter(f"{text!r} is not NAME=DEVICE", param_hint="--physical")
        if name in devices:
            raise click.BadParameter(f"{name!r} is given twice", param_hint="--physical")
        devices[name] = device
    return devices


def physical_words(devices: Mapping[str, str]) -> list[str]:
    """The same on a command line."""
    return [word for name, device in devices.items() for word in ("--physical", f"{name}={device}")]


def physical_option(command: Callable[..., T]) -> Callable[..., T]:
    """Give a command the option; it is called with ``physical``, devices by physical network."""

    @click.option(
        "--physical",
        multiple=True,
        metavar="NAME=DEVICE",
        help="A link device, or a bridge of the same Open vSwitch, that leads to a physical network (VLAN and flat). "
        "The device is Ostro's from then on.",
    )
    @wraps(command)
    def wrapped(*args: object, physical: Sequence[str], **kwargs: object) -> T:
        return command(*args, physical=parse_physical(physical), **kwargs)

    return wrapped
