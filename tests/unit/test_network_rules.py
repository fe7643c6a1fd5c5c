"""Security group rules: what is the same, and that checking settles."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ostro.model.errors import Invalid
from ostro.services.network.rules import PROTOCOLS, RuleSpec, check_rule, fingerprint

SPECS = st.builds(
    RuleSpec,
    direction=st.sampled_from(["ingress", "egress"]),
    ethertype=st.sampled_from(["IPv4", "IPv6"]),
    protocol=st.none() | st.sampled_from([*PROTOCOLS, "6", "1", "58", "200"]),
    port_range_min=st.none() | st.integers(0, 65535),
    port_range_max=st.none() | st.integers(0, 65535),
    remote_ip_prefix=st.none() | st.sampled_from(["0.0.0.0/0", "::/0", "10.0.0.1", "10.0.0.9/24", "fd00::/8", "x"]),
    remote_group_id=st.none() | st.just("g"),
)


@given(SPECS)
def test_checking_a_checked_rule_changes_nothing(spec: RuleSpec) -> None:
    try:
        checked = check_rule(spec)
    except Invalid:
        return
    assert check_rule(checked) == checked


@given(SPECS, SPECS)
def test_fingerprints_tell_rules_apart(one: RuleSpec, two: RuleSpec) -> None:
    """Rules that differ in what they say of direction, family, ports or group differ; names and numbers of a protocol don't."""
    try:
        one, two = check_rule(one), check_rule(two)
    except Invalid:
        return
    plain = ("direction", "ethertype", "port_range_min", "port_range_max", "remote_group_id")
    if any(getattr(one, name) != getattr(two, name) for name in plain):
        assert fingerprint(one) != fingerprint(two)


def test_names_and_numbers_are_the_same_protocol() -> None:
    for name, number in PROTOCOLS.items():
        assert fingerprint(RuleSpec("egress", "IPv6", name)) == fingerprint(RuleSpec("egress", "IPv6", str(number)))
    assert fingerprint(RuleSpec("egress", "IPv4", None)) != fingerprint(RuleSpec("egress", "IPv4", "tcp"))
