"""The flows that were kept current change by change are those that one compilation makes."""

from __future__ import annotations

from collections import Counter

from ostro.agent.drivers.network.fake import FakeNetwork

SHOWN = 3


def check_flows(network: FakeNetwork) -> list[str]:
    """Complaints about one host's network."""
    kept, afresh = network.compile_afresh()
    have, want = Counter(map(repr, kept)), Counter(map(repr, afresh))
    extra, missing = have - want, want - have
    return [
        *(f"a flow that a full compilation doesn't make: {flow}" for flow in list(extra)[:SHOWN]),
        *(f"a flow is missing: {flow}" for flow in list(missing)[:SHOWN]),
    ]
