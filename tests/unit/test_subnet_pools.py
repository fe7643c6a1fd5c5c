"""Pools of a subnet, for any prefix and gateway."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostro.model.errors import Conflict, Invalid
from ostro.services.network.addresses import pool_ranges, to_number, to_text, usable
from ostro.services.network.subnets import choose_pools
from ostro.store.subnets import Pool

PREFIXES = st.builds(
    lambda number, length: ipaddress.IPv4Network((number, length), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(8, 32),
)


@given(st.integers(0, 2**32 - 1))
def test_numbers_and_texts(number: int) -> None:
    assert to_number(to_text(number)) == number


@given(PREFIXES, st.integers(0, 2**32 - 1))
def test_default_pools_are_every_address_but_the_gateway(cidr: ipaddress.IPv4Network, seed: int) -> None:
    within = usable(str(cidr))
    gateway = within.first + seed % within.size
    ranges = pool_ranges(choose_pools(cidr, to_text(gateway), None))
    alone = cidr.num_addresses == 1
    assert sum(r.size for r in ranges) == (1 if alone else within.size - 1)
    assert alone or all(not r.first <= gateway <= r.last for r in ranges)
    assert all(within.first <= r.first <= r.last <= within.last for r in ranges)
    assert pool_ranges(choose_pools(cidr, "", None)) == [within]


@given(st.lists(st.tuples(st.integers(-2, 257), st.integers(-2, 257)), min_size=1, max_size=4), st.integers(1, 254))
def test_given_pools_are_taken_when_they_can_be(ends: list[tuple[int, int]], gateway: int) -> None:
    """Against a set of numbers, which can't be clever."""
    base = to_number("10.0.0.0")
    asked = [Pool(to_text(base + first), to_text(base + last)) for first, last in ends]
    taken = [set(range(first, last + 1)) for first, last in ends]
    ordered = all(first <= last for first, last in ends)
    inside = all(1 <= n <= 254 for numbers in taken for n in numbers)
    apart = sum(map(len, taken)) == len(set().union(*taken))
    free = gateway not in set().union(*taken)
    cidr = ipaddress.IPv4Network("10.0.0.0/24")
    if ordered and inside and apart and free:
        pools = choose_pools(cidr, to_text(base + gateway), asked)
        assert sum(r.size for r in pool_ranges(pools)) == sum(map(len, taken))
    else:
        with pytest.raises((Conflict, Invalid)):
            choose_pools(cidr, to_text(base + gateway), asked)
