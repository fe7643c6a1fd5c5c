"""Turn lines of measurements (JSON on standard input) into the tables that README.md shows: ``make bench | python -m bench.table``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

Result = dict[str, Any]


def number(value: float) -> str:
    """Three figures are enough."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def figure_row(result: Result) -> str:
    """A value, and what it is compared with."""
    beside = next(
        (f"{kind} {number(result[key])}" for key, kind in (("floor", "floor"), ("peer", "OpenStack")) if key in result),
        "",
    )
    ratio = number(result["ratio"]) if "ratio" in result else ""
    return f"| `{result['name']}` | {number(result['value'])} {result['unit']} | {beside} | {ratio} |"


def cell_row(result: Result) -> str:
    """One kind of transfer on each store: operations a second, and CPU in ms an operation where a server does it."""
    ceph, rgw, local, raw = (_rate(result.get(store)) for store in ("ceph", "rgw", "local", "raw"))
    to_rgw, to_swift = (number(result[key]) if key in result else "" for key in ("ceph/rgw", "local/swift"))
    return f"| `{result['name']}` | {ceph} | {rgw} | {to_rgw} | {local} | {to_swift} | {raw} |"


def _rate(cell: Result | None) -> str:
    if cell is None:
        return ""
    cpu = f" ({number(cell['cpu_ms'])})" if cell["cpu_ms"] else ""
    return number(cell["rate"]) + cpu


def plain_row(result: Result) -> str:
    """Whatever else was measured, by name."""
    figures = ", ".join(f"{name} {number(value)}" for name, value in result.items() if isinstance(value, int | float))
    return f"| `{result['name']}` | {figures} |"


TABLES: tuple[tuple[Callable[[Result], bool], tuple[str, ...], Callable[[Result], str]], ...] = (
    (lambda result: "value" in result, ("name", "value", "beside it", "ratio"), figure_row),
    (
        lambda result: "raw" in result or "ceph" in result,
        ("cell", "Ostro on Ceph", "RGW", "to RGW", "Ostro on disk", "to Swift", "raw"),
        cell_row,
    ),
    (lambda result: True, ("name", "figures"), plain_row),
)


def main() -> None:
    """Lines that are no measurements are passed over: make and the bootstrap print too."""
    results: list[Result] = [json.loads(line) for line in sys.stdin if line.startswith("{")]
    for fits, head, row in TABLES:
        mine = [result for result in results if fits(result)]
        results = [result for result in results if result not in mine]
        if mine:
            print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", *map(row, mine), "", sep="\n")


if __name__ == "__main__":
    main()
