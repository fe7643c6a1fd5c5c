"""What the drivers have in common: the wishes held, in the Rust core, and which ports are plugged in."""

from __future__ import annotations

from ostro._core import FlowState
from ostro.model.errors import Invalid, NotFound
from ostro.model.wishes import Noun


class HeldWishes:
    """The core's state, with errors of our own and the bindings that it has been told."""

    def __init__(self, state: FlowState) -> None:
        self.state = state
        self._numbers: dict[str, int | None] = {}
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

    def bind(self, port_id: str, number: int | None) -> bool:
        """Say that a port is plugged in by this number, or not any more. Returns whether it had another number before."""
        known = port_id in self._numbers
        if self._numbers.get(port_id) == number:
            return False
        self.state.bind(port_id, number)
        self._numbers[port_id] = number
        return known

    def forget(self, port_id: str) -> None:
        """Say that a port is not plugged in any more and will not come back by itself."""
        self.bind(port_id, None)
        self._numbers.pop(port_id, None)
