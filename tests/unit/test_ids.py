"""Identifiers are what the standard library makes of the same chance."""

from __future__ import annotations

import random
import uuid

from ostro.model.ids import is_uuid, new_hex, new_uuid


def test_uuids_are_of_version_4_and_as_the_library_forms_them() -> None:
    for seed in range(200):
        theirs = uuid.UUID(int=random.Random(seed).getrandbits(128), version=4)
        ours = new_uuid(random.Random(seed))
        assert ours == str(theirs) and is_uuid(ours)
        assert new_hex(random.Random(seed)) == theirs.hex
        assert (theirs.version, theirs.variant) == (4, uuid.RFC_4122)
