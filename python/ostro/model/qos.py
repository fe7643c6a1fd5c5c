"""Limits of volumes, from the specs that administrators write. Pure.

The names are upstream's. The front end's are those of Nova for libvirt, the back end's those of Cinder for RBD. A name ending in ``_per_gb`` is
multiplied by the volume's size, and is at least what the same name with ``_per_gb_min`` says. Whatever else stands in the specs is for others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

FRONT_END = "front-end"
BACK_END = "back-end"
BOTH = "both"
CONSUMERS = (FRONT_END, BACK_END, BOTH)

_BASES = tuple(f"{what}_{unit}_sec" for what in ("total", "read", "write") for unit in ("bytes", "iops"))
FRONT_END_LIMITS = frozenset(
    (*_BASES, *(f"{b}_max" for b in _BASES), *(f"{b}_max_length" for b in _BASES), "size_iops_sec")
)
"""What libvirt can hold a disk to (``iotune``)."""
RBD_LIMITS = {
    f"{what}_{unit}_sec{more}": f"rbd_qos_{'' if what == 'total' else what + '_'}{rbd_unit}_{rbd_more}"
    for what in ("total", "read", "write")
    for unit, rbd_unit in (("bytes", "bps"), ("iops", "iops"))
    for more, rbd_more in (("", "limit"), ("_max", "burst"))
}
"""What a limit of the back end is called in RBD."""
_FROM_RBD = {theirs: ours for ours, theirs in RBD_LIMITS.items()}
MOST = 1 << 62


def to_rbd_limits(limits: Mapping[str, int]) -> dict[str, int]:
    """The limits under RBD's names."""
    return {RBD_LIMITS[name]: value for name, value in limits.items() if name in RBD_LIMITS}


def from_rbd_limits(limits: Mapping[str, int]) -> dict[str, int]:
    """Limits under RBD's names, back under ours."""
    return {_FROM_RBD[name]: value for name, value in limits.items() if name in _FROM_RBD}


def front_end_limits(consumer: str, specs: Mapping[str, str], size_gb: int) -> dict[str, int]:
    """What the hypervisor holds a volume of this size to."""
    return {} if consumer == BACK_END else _limits(FRONT_END_LIMITS, specs, size_gb)


def back_end_limits(consumer: str, specs: Mapping[str, str], size_gb: int) -> dict[str, int]:
    """What the storage holds a volume of this size to."""
    return {} if consumer == FRONT_END else _limits(RBD_LIMITS.keys(), specs, size_gb)


def _limits(known: Collection[str], specs: Mapping[str, str], size_gb: int) -> dict[str, int]:
    out: dict[str, int] = {}
    for name in sorted(specs):
        base = name.removesuffix("_per_gb")
        value = _number(specs[name])
        if base not in known or value is None:
            continue
        if base != name:
            least = _number(specs.get(f"{name}_min", "")) or 0
            value = max(value * size_gb, least)
        if value:
            out[base] = min(value, MOST)
    return out


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() else None
