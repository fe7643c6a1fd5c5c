"""Turn lines of measurements (JSON on standard input) into the table that README.md shows: ``make bench | python -m bench.table``."""

from __future__ import annotations

import json
import sys
from typing import Any


def number(value: float) -> str:
    """Three figures are enough."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def row(result: dict[str, Any]) -> str:
    """One line of the table."""
    beside = next(
        (f"{kind} {number(result[key])}" for key, kind in (("floor", "floor"), ("peer", "OpenStack")) if key in result),
        "",
    )
    ratio = number(result["ratio"]) if "ratio" in result else ""
    return f"| `{result['name']}` | {number(result['value'])} {result['unit']} | {beside} | {ratio} |"


def main() -> None:
    """Lines that are no measurements are passed over: make and the bootstrap print too."""
    print("| name | value | beside it | ratio |\n|---|---|---|---|")
    for line in sys.stdin:
        if line.startswith("{"):
            print(row(json.loads(line)))


if __name__ == "__main__":
    main()
