"""``python -m ostro.guest --cache DIR --out DIR``: build every variant, ``<out>/<variant>.qcow2``."""

from __future__ import annotations

import argparse
from pathlib import Path

from ostro.guest import VARIANTS, build_image


def main() -> None:
    """Build what is missing and print each image's path and size."""
    parser = argparse.ArgumentParser(description="Build the tiny guest images.")
    parser.add_argument("--cache", type=Path, required=True, help="where unpacked packages are kept")
    parser.add_argument("--out", type=Path, required=True, help="where the images go")
    options = parser.parse_args()
    for variant in VARIANTS:
        image = build_image(variant, options.out / f"{variant}.qcow2", options.cache)
        print(f"{image} {image.stat().st_size} bytes")


main()
