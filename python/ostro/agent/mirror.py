"""The host's copy of its wishes, kept current by the change feed.

The whole wish is always at hand, so every decision is made from all of it and never from what changed. Bodies are decoded when they are
first asked for, into the struct of their noun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from ostro.model import wishes
from ostro.model.errors import Bug
from ostro.model.wishes import Feed, Noun, Wish

Key = tuple[Noun, str]
Body = TypeVar("Body", bound=msgspec.Struct)

BODIES: Mapping[Noun, type[msgspec.Struct]] = {
    Noun.NETWORK: wishes.NetworkWish,
    Noun.SECURITY_GROUP: wishes.SecurityGroupWish,
    Noun.PORT: wishes.PortWish,
    Noun.PEER: wishes.PeerWish,
    Noun.ROUTER: wishes.RouterWish,
    Noun.FLOATING_IP: wishes.FloatingIpWish,
    Noun.IMAGE: wishes.ImageWish,
    Noun.VOLUME: wishes.VolumeWish,
    Noun.SNAPSHOT: wishes.SnapshotWish,
    Noun.UPLOAD: wishes.UploadWish,
    Noun.SERVER: wishes.ServerWish,
    Noun.ASK: wishes.AskWish,
}
_DECODERS = {noun: msgspec.json.Decoder(type_) for noun, type_ in BODIES.items()}


@dataclass
class Held:
    """A wish and, once asked for, its body."""

    wish: Wish
    _body: msgspec.Struct | None = None

    @property
    def generation(self) -> int:
        """The wish's generation."""
        return self.wish.generation

    @property
    def absent(self) -> bool:
        """Whether the wish is for absence."""
        return self.wish.body is None

    def body(self, type_: type[Body]) -> Body:
        """The body of a wish for presence, as its noun's struct, which must be ``type_``. Raises Bug when it can't be read."""
        assert self.wish.body is not None, "a wish for absence has no body"
        if self._body is None:
            try:
                self._body = _DECODERS[self.wish.noun].decode(self.wish.body)
            except msgspec.MsgspecError as error:
                raise Bug(f"The wish for {self.wish.noun} {self.wish.id} can't be read: {error}") from error
        assert isinstance(self._body, type_), f"{self.wish.noun} is not a {type_.__name__}"
        return self._body


@dataclass
class Mirror:
    """All wishes by noun and id. ``revision`` is what to ask the feed for next; 0 means that nothing is known."""

    revision: int = 0
    _held: dict[Noun, dict[str, Held]] = field(default_factory=lambda: {noun: {} for noun in Noun})

    def find(self, noun: Noun, id: str) -> Held | None:
        """One wish, for presence or absence, or None when the control plane has none."""
        return self._held[noun].get(id)

    def present(self, noun: Noun, type_: type[Body]) -> Iterator[Body]:
        """The bodies of all wishes for presence of ``noun``."""
        for held in self._held[noun].values():
            if not held.absent:
                yield held.body(type_)

    def ids(self, noun: Noun) -> list[str]:
        """The ids of all wishes of ``noun``."""
        return list(self._held[noun])

    def take(self, feed: Feed) -> set[Key]:
        """Take in an answer of the feed, whole. Returns the keys of the wishes that changed, appeared or, by a full one, vanished."""
        changed: set[Key] = set()
        if feed.full:
            named = {(wish.noun, wish.id) for wish in feed.wishes}
            for noun, held in self._held.items():
                for id_ in [id_ for id_ in held if (noun, id_) not in named]:
                    del held[id_]
                    changed.add((noun, id_))
        for wish in feed.wishes:
            known = self._held[wish.noun].get(wish.id)
            if known is None or known.generation != wish.generation:
                self._held[wish.noun][wish.id] = Held(wish)
                changed.add((wish.noun, wish.id))
        self.revision = feed.revision
        return changed

    def forget(self, noun: Noun, id: str, generation: int) -> None:
        """Drop a wish for absence whose fulfilment at ``generation`` the control plane has been told of."""
        held = self._held[noun].get(id)
        if held is not None and held.absent and held.generation == generation:
            del self._held[noun][id]
