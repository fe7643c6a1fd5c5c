"""The Rust core's budgets, measured: ``python -m bench.core [WORD ...]`` prints one JSON object a line.

``name``, ``value``, ``unit``, ``floor`` (the same by the smallest thing that could do it, measured in turn with the value in this run),
``ratio`` (value / floor) and ``budget`` (what was promised, in the unit). Words select the figures whose names have them all.
First the benches of ``bench/rust`` (criterion), then those of ``bench/micro`` (Python). What they say besides goes to stderr.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CARGO_BY_BOOTSTRAP = ROOT / ".venv" / "bin" / ".cargo"


def say(text: str) -> None:
    """Say what is going on, beside the figures."""
    print(text, file=sys.stderr, flush=True)


def run(command: list[str]) -> bool:
    """Run a command, its figures to stdout and the rest to stderr; whether it succeeded."""
    say("$ " + " ".join(Path(word).name if at == 0 else word for at, word in enumerate(command)))
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None, "a pipe"
    for line in process.stdout:
        print(line, end="", file=sys.stdout if line.startswith("{") else sys.stderr, flush=True)
    return process.wait() == 0


def main() -> None:
    """Build, then measure."""
    if CARGO_BY_BOOTSTRAP.exists():
        os.environ["PATH"] = f"{CARGO_BY_BOOTSTRAP.read_text().strip()}:{os.environ['PATH']}"
    cargo, words = shutil.which("cargo") or "cargo", sys.argv[1:]
    say("building the benches (two to five minutes the first time)")
    bench = [cargo, "bench", "-q", "--locked", "-p", "ostro-bench"]
    if not run([*bench, "--no-run"]) or not run([cargo, "build", "-q", "--release", "--locked", "-p", "ostro-bench"]):
        sys.exit("the benches can't be built")
    started_s = time.monotonic()
    good = [run([*bench, "--benches", "--", *words]), run([sys.executable, "-m", "bench.micro", *words])]
    say(f"measured in {time.monotonic() - started_s:.0f} s")
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
