"""Reports come in: each is kept, and then its noun's owner draws the conclusions, in one transaction.

``SETTLERS`` is the whole list of owners. A settler reads rows and writes the materialised status of its object; it
gets every kept report, also repeated ones, and must come to the same result each time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ostro.model.context import Context
from ostro.model.wishes import Noun, Phase, Report
from ostro.services.agents.hosts import check_speaker, is_touch_due, touch_host
from ostro.services.agents.joining import Speaker, check_certificate
from ostro.services.block.snapshots import settle_snapshot
from ostro.services.block.uploads import settle_upload
from ostro.services.block.volumes import settle_volume
from ostro.services.compute.instance_actions import foresee_stages, note_stages
from ostro.services.compute.servers import foresee_server, settle_server
from ostro.services.network.port_changes import foresee_port, settle_port
from ostro.store.database import Tx
from ostro.store.reports import put_reports
from ostro.store.sagas import poke_sagas
from ostro.store.wishes import forget_wish

Settler = Callable[[Tx, str, Report, int], None]
"""``settle_noun(tx, host_id, report, now_us)``."""


def settle_ask(tx: Tx, host_id: str, report: Report, now_us: int) -> None:
    """Whoever asked is waiting at the ask's doorbell."""
    tx.ring(ask_topic(report.id))


def ask_topic(ask_id: str) -> str:
    """Rings when the ask is answered."""
    return f"ask:{ask_id}"


SETTLERS: Mapping[Noun, Settler] = {
    Noun.ASK: settle_ask,
    Noun.PORT: settle_port,
    Noun.SERVER: settle_server,
    Noun.VOLUME: settle_volume,
    Noun.SNAPSHOT: settle_snapshot,
    Noun.UPLOAD: settle_upload,
}


def _foresee(tx: Tx, host_id: str, report: Report) -> None:
    """What those are going to read of which a host reports hundreds at once."""
    if report.noun is Noun.PORT:
        foresee_port(tx, host_id, report)
    elif report.noun is Noun.SERVER:
        foresee_stages(tx, report)
        foresee_server(tx, host_id, report)


def record_reports(tx: Tx, context: Context, host_id: str, speaker: Speaker, reports: Sequence[Report]) -> int:
    """Keep the reports that are not stale and settle their objects; how many were kept."""
    check_certificate(tx, context, speaker)
    host = check_speaker(tx, host_id, speaker)
    kept = put_reports(tx, host_id, reports, context.now_us)
    for report in kept:
        _foresee(tx, host_id, report)
    for report in kept:
        if report.noun is Noun.SERVER:
            note_stages(tx, report, context.now_us)
        settle = SETTLERS.get(report.noun)
        if settle is not None:
            settle(tx, host_id, report, context.now_us)
        if report.phase is Phase.ABSENT:
            forget_wish(tx, host_id, report.noun, report.id, report.generation)
    poke_sagas(tx, [report.id for report in kept])
    if is_touch_due(host, context.now_us):
        touch_host(tx, host_id, context.now_us)
    return len(kept)
