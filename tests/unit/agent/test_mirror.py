"""The host's copy of its wishes."""

from __future__ import annotations

import msgspec
import pytest

from ostro.agent.mirror import BODIES, Mirror
from ostro.model.errors import Bug
from ostro.model.wishes import AskWish, Feed, Noun, VolumeWish, Wish


def wish(noun: Noun, id: str, generation: int, body: msgspec.Struct | None) -> Wish:
    return Wish(noun, id, generation, None if body is None else msgspec.Raw(msgspec.json.encode(body)))


def volume(generation: int, size_gb: int = 1) -> Wish:
    return wish(Noun.VOLUME, "v", generation, VolumeWish("v", size_gb))


def test_every_noun_has_a_body() -> None:
    assert set(BODIES) == set(Noun)


def test_changes_are_told_once() -> None:
    mirror = Mirror()
    assert mirror.take(Feed(5, True, [volume(3)])) == {(Noun.VOLUME, "v")}
    assert mirror.take(Feed(5, True, [volume(3)])) == set()
    assert mirror.take(Feed(7, False, [volume(7, size_gb=2)])) == {(Noun.VOLUME, "v")}
    assert mirror.revision == 7
    assert [body.size_gb for body in mirror.present(Noun.VOLUME, VolumeWish)] == [2]


def test_a_full_feed_drops_what_it_does_not_name_and_a_partial_one_does_not() -> None:
    mirror = Mirror()
    mirror.take(Feed(5, True, [volume(3)]))
    assert mirror.take(Feed(6, False, [wish(Noun.ASK, "a", 6, AskWish("a", "console_log", "s"))])) == {(Noun.ASK, "a")}
    assert mirror.find(Noun.VOLUME, "v") is not None
    assert mirror.take(Feed(7, True, [])) == {(Noun.ASK, "a"), (Noun.VOLUME, "v")}
    assert mirror.find(Noun.VOLUME, "v") is None
    assert mirror.ids(Noun.ASK) == []


def test_an_absence_is_forgotten_only_at_its_generation() -> None:
    mirror = Mirror()
    mirror.take(Feed(5, True, [wish(Noun.VOLUME, "v", 5, None)]))
    held = mirror.find(Noun.VOLUME, "v")
    assert held is not None and held.absent
    assert list(mirror.present(Noun.VOLUME, VolumeWish)) == []
    mirror.forget(Noun.VOLUME, "v", 4)
    assert mirror.find(Noun.VOLUME, "v") is held
    mirror.forget(Noun.VOLUME, "v", 5)
    assert mirror.find(Noun.VOLUME, "v") is None
    mirror.take(Feed(6, False, [volume(6)]))
    mirror.forget(Noun.VOLUME, "v", 6)
    assert mirror.find(Noun.VOLUME, "v") is not None


def test_unknown_fields_are_ignored_and_unreadable_bodies_are_told() -> None:
    mirror = Mirror()
    newer = Wish(Noun.VOLUME, "v", 1, msgspec.Raw(b'{"id":"v","size_gb":3,"colour":"blue"}'))
    broken = Wish(Noun.VOLUME, "w", 1, msgspec.Raw(b'{"id":"w"}'))
    mirror.take(Feed(1, True, [newer, broken]))
    held, unreadable = mirror.find(Noun.VOLUME, "v"), mirror.find(Noun.VOLUME, "w")
    assert held is not None and unreadable is not None
    assert held.body(VolumeWish).size_gb == 3
    with pytest.raises(Bug):
        unreadable.body(VolumeWish)
