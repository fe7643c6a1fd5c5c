"""Finding a provider and raising its generation: the beginning of every change of one."""

from __future__ import annotations

from ostro.services.placement.errors import ProviderNotFound, generation_conflict
from ostro.store.database import Tx
from ostro.store.providers import PROVIDERS, Provider, raise_provider_generation


def get_provider(tx: Tx, provider_id: str) -> Provider:
    """The provider. Raises ProviderNotFound."""
    provider = PROVIDERS.find(tx, id=provider_id)
    if provider is None:
        raise ProviderNotFound(provider_id)
    return provider


def change_provider(tx: Tx, provider_id: str, seen: int | None, now_us: int) -> int:
    """Raise the generation of a provider that exists; the new one. Raises a conflict unless it is at generation ``seen``."""
    raised = raise_provider_generation(tx, provider_id, now_us, seen=seen)
    if raised is None:
        raise generation_conflict()
    return raised
