"""A plugin of pytest's that keeps the last words of a process that a library ends.

What a library written in C says before it ends the interpreter goes to file descriptor 2, where pytest has put a file that is gone with the process. A shell
that outlives us says it then, and in which test, on the real standard error, where faulthandler's stacks are too.
"""

from __future__ import annotations

import os
import stat
import subprocess

import pytest

SAID = "What it said last, in"
"""`.ci/check` looks for a line that begins with this."""
MOST_BYTES = 20_000
WELL = "well"
STDERR = pytest.StashKey[int]()
HEIR = pytest.StashKey["subprocess.Popen[str] | None"]()


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is captured yet."""
    config.stash[STDERR] = os.dup(2)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tell the heir which test it is; there is none while pytest leaves file descriptor 2 alone (``-s``)."""
    if HEIR not in item.config.stash:
        captured = stat.S_ISREG(os.fstat(2).st_mode)
        item.config.stash[HEIR] = _appoint(item.config.stash[STDERR]) if captured else None
    heir = item.config.stash[HEIR]
    if heir is not None and heir.stdin is not None:
        print(item.nodeid, file=heir.stdin, flush=True)


def _appoint(stderr: int) -> subprocess.Popen[str]:
    """A shell that reads the names of tests until we end, and then hands on what was said, unless we ended well."""
    said = os.dup(2)
    script = f"""
        while read -r line; do name=$line; done
        [ "$name" = {WELL} ] || {{ printf "\\n%s %s:\\n" "{SAID}" "$name"; tail -c {MOST_BYTES} /proc/self/fd/{said}; echo; }} >&2
    """
    heir = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stderr=stderr, pass_fds=[said], text=True)
    os.close(said)
    return heir


def pytest_unconfigure(config: pytest.Config) -> None:
    """All has ended well."""
    heir = config.stash.get(HEIR, None)
    if heir is not None:
        heir.communicate(WELL + "\n")
    os.close(config.stash[STDERR])
