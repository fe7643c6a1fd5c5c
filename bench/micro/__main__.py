"""``python -m bench.micro [WORD ...]``: one JSON object a line; words select the figures whose names have them all."""

from __future__ import annotations

import sys

from bench.micro import calls, feeds, holds, switch

GROUPS = {
    "python.place python.add_used": calls,
    "python.hold": holds,
    "python.chunk python.md5 python.sha256": feeds,
    "switch.flows switch.fill": switch,
}


def main() -> None:
    """Measure what is asked for. The switch comes last: it takes the process to a network of its own."""
    words = sys.argv[1:]
    for names, group in GROUPS.items():
        if not all(any(word in name or name in word for name in names.split()) for word in words):
            continue
        for figure in group.figures():
            if all(word in figure.name for word in words):
                print(figure.line(), flush=True)


main()
