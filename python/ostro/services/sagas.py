"""Every saga that the engine can run."""

from __future__ import annotations

from ostro.saga.engine import Saga

SAGAS: tuple[Saga, ...] = ()
