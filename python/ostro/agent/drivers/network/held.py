"""What the drivers have in common: the wishes held, in the Rust core, and which ports are plugged in."""

from __future__ import annotations

from collections.abc import Mapping

from ostro._core import FlowState
from ostro.model.errors import Invalid, NotFound
from ostro.model.wishes import Noun


class HeldWishes:
    """The core's state, with errors of our own and the bindings that it has been told."""

    def __init__(self, state: FlowState) -> None:
        self.state = state
        self._bound: dict[str, int] = {}
        self._taps: dict[str, str] = {}

    def put(self, noun: Noun, id: str, body: bytes) -> None:
        """See `ostro.agent.drivers.network.Network.put`."""
        try:
            self.state.put(noun.value, id, body)
        except ValueError as error:
            raise Invalid(f"The wish for {noun.value} {id} can't be: {error}") from error

    def drop(self, noun: Noun, id: str) -> None:
        """See `ostro.agent.drivers.network.Network.drop`."""
        self.state.drop(noun.value, id)

    def plug_facts(self, port_id: str) -> tuple[str, str, int]:
        """Tap, MAC and MTU of a port.

        Raises:
            NotFound: it, or its network, isn't held.
        """
        facts = self.state.plug_facts(port_id)
        if facts is None:
            raise NotFound("port", port_id, f"No wish for port {port_id} and its network is held.")
        self._taps[port_id] = facts[0]
        return facts

    def find_tap(self, port_id: str) -> str:
        """The tap that a port was plugged with, or empty if it wasn't since the start."""
        return self._taps.pop(port_id, "")

    def bind_all(self, numbers: Mapping[str, int]) -> bool:
        """Say that exactly these ports are plugged in, by these numbers. Returns whether a port's number is another now."""
        moved = False
        for port_id in self._bound.keys() - numbers.keys():
            self.state.bind(port_id, None)
        for port_id, number in numbers.items():
            if self._bound.get(port_id) != number:
                moved |= port_id in self._bound
                self.state.bind(port_id, number)
        self._bound = dict(numbers)
        return moved
