"""Traits, and which providers have them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ostro.model.context import Context
from ostro.model.errors import NotFound
from ostro.services.placement.changes import change_provider, get_provider
from ostro.services.placement.engine import PlacementEngine
from ostro.services.placement.errors import PlacementConflict, PlacementInvalid
from ostro.services.placement.names import CUSTOM, STANDARD_TRAITS
from ostro.store.database import Tx
from ostro.store.providers import PROVIDER_TRAITS, Provider
from ostro.store.traits import CUSTOM_TRAITS, ensure_custom_trait


def list_traits(
    tx: Tx, context: Context, *, names: Collection[str] | None, prefix: str, associated: bool | None
) -> list[str]:
    """Every trait, of these names, with this prefix, that providers have or don't have."""
    found = STANDARD_TRAITS | {trait.name for trait in CUSTOM_TRAITS.list(tx)}
    if names is not None:
        found = found & set(names)
    if prefix:
        found = frozenset(name for name in found if name.startswith(prefix))
    if associated is not None:
        used = PROVIDER_TRAITS.used(tx)
        found = found & used if associated else found - used
    return sorted(found)


def exists(tx: Tx, name: str) -> bool:
    """Whether there is such a trait."""
    return name in STANDARD_TRAITS or CUSTOM_TRAITS.find(tx, name=name) is not None


def check_trait(tx: Tx, context: Context, name: str) -> None:
    """Raise NotFound unless there is such a trait."""
    if not exists(tx, name):
        raise NotFound("trait", name, f"No such trait(s): {name}.")


def create_trait(tx: Tx, context: Context, name: str) -> bool:
    """Make a custom trait; False if it was there. Raises Invalid for a name that isn't custom."""
    if not CUSTOM.fullmatch(name) or len(name) > 255:
        raise PlacementInvalid(
            f"The trait is invalid. A valid trait must be no longer than 255 characters, start with the prefix 'CUSTOM_' "
            f"and use following characters: 'A'-'Z', '0'-'9' and '_': {name}"
        )
    return ensure_custom_trait(tx, name, context.now_us)


def delete_trait(tx: Tx, context: Context, name: str) -> None:
    """Remove a custom trait that nothing has."""
    if name in STANDARD_TRAITS:
        raise PlacementInvalid(f"Cannot delete standard trait {name}.")
    check_trait(tx, context, name)
    if PROVIDER_TRAITS.in_use(tx, name):
        raise PlacementConflict(f"The trait {name} is in use by a resource provider.")
    CUSTOM_TRAITS.delete(tx, name)


def get_provider_traits(tx: Tx, context: Context, provider_id: str) -> tuple[Provider, list[str]]:
    """A provider and its traits."""
    provider = get_provider(tx, provider_id)
    return provider, PROVIDER_TRAITS.of(tx, provider_id)


def set_provider_traits(
    tx: Tx, context: Context, engine: PlacementEngine, provider_id: str, generation: int | None, names: Sequence[str]
) -> tuple[int, list[str]]:
    """Give a provider exactly these traits; its new generation, and they. Raises Invalid for unknown ones."""
    get_provider(tx, provider_id)
    missing = sorted(name for name in set(names) if not exists(tx, name))
    if missing:
        raise PlacementInvalid(f"No such trait {', '.join(missing)}")
    raised = change_provider(tx, provider_id, generation, context.now_us)
    PROVIDER_TRAITS.replace(tx, provider_id, names)
    engine.note_provider(tx, provider_id)
    return raised, sorted(set(names))
