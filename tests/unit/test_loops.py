"""Every loop that goes on for as long as its process does shows what is pending, how old that is, and what failed; none can be forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

import ostro
from ostro.runtime.metrics import Loop

ROOT = Path(ostro.__file__).parent
NOT_THE_PRODUCT = ("testing", "cli/demo", "guest")
ONE_REQUEST = "ends with the request, stream or connection that it is for"
ONE_CALL = "ends with the call that it is part of"
EXEMPT = {
    "agent/agent.py:Agent.run": "each turn is a registration, whose tries are the feed's errors",
    "agent/agent.py:Agent._register": ONE_CALL,
    "agent/drivers/network/switch.py:SwitchLink.run": "hands on what a thread has read: nothing waits and nothing fails",
    "agent/fence.py:Fence.run": "what it does goes by `_try`, which notes it",
    "agent/http_client.py:": ONE_REQUEST,
    "agent/link.py:HttpLink.image": ONE_REQUEST,
    "agent/metadata.py:Metadata._listen": "ends when the address can be listened on, before which the agent doesn't start",
    "agent/metadata.py:_read_request": ONE_REQUEST,
    "agent/parts/libvirtd.py:_end_when_hung": "ends with the daemon, whose loop is `_supervise`",
    "http/app.py:_accept": "what waits is the kernel's to count, and requests have figures of their own",
    "http/asks.py:": ONE_REQUEST,
    "http/connection.py:": ONE_REQUEST,
    "http/identity/whole.py:": ONE_REQUEST,
    "http/request.py:": ONE_REQUEST,
    "http/settling.py:": ONE_REQUEST,
    "http/watch.py:": ONE_REQUEST,
    "http/wire.py:": ONE_REQUEST,
    "runtime/ceph/connection.py:Ceph._let_go": ONE_CALL,
    "runtime/ceph/connection.py:Ceph._look_often": "compares two times: nothing waits and nothing fails",
    "runtime/reconciler.py:Reconciler.run": "a reconciler has figures of its own",
    "runtime/web.py:": ONE_REQUEST,
    "store/postgres_writer.py:Writer.serve": "what it begins is noted by `_settle`",
    "services/changes.py:Changes._read": ONE_CALL,
    "services/changes.py:Changes.make_once": ONE_CALL,
    "services/changes.py:Changes.run": "its rounds are those of `_follow`",
}
"""What is no such loop, or shows itself in another way, and why: by module and function, or by what these begin with."""


def functions(tree: ast.AST, inside: str = "") -> Iterator[tuple[str, ast.AsyncFunctionDef]]:
    """Every asynchronous function with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{inside}.{node.name}".lstrip(".")
            if isinstance(node, ast.AsyncFunctionDef):
                yield name, node
            yield from functions(node, name)
        else:
            yield from functions(node, inside)


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """What a function is made of, without functions in it."""
    for node in ast.iter_child_nodes(function):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield node
            yield from own_nodes(node)


def goes_on(node: ast.AST) -> bool:
    """Whether it is a loop without an end."""
    return isinstance(node, ast.While) and isinstance(node.test, ast.Constant) and bool(node.test.value)


def is_noted(node: ast.AST) -> bool:
    """Whether it is ``with loop.run():``, or counts an error of a loop's."""
    if isinstance(node, ast.With):
        calls = [item.context_expr for item in node.items if isinstance(item.context_expr, ast.Call)]
        return any(isinstance(call.func, ast.Attribute) and call.func.attr == "run" and not call.args for call in calls)
    return isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Attribute) and node.target.attr == "errors"


def endless() -> Iterator[tuple[str, bool]]:
    """Every function with such a loop, and whether it notes what it does."""
    for path in sorted(ROOT.rglob("*.py")):
        module = str(path.relative_to(ROOT))
        if module.startswith(NOT_THE_PRODUCT):
            continue
        for name, function in functions(ast.parse(path.read_text())):
            nodes = list(own_nodes(function))
            if any(goes_on(node) for node in nodes):
                yield f"{module}:{name}", any(is_noted(node) for node in nodes)


def test_every_loop_shows_itself() -> None:
    silent = [name for name, noted in endless() if not noted]
    assert [name for name in silent if not name.startswith(tuple(EXEMPT))] == []
    assert [start for start in EXEMPT if not any(name.startswith(start) for name in silent)] == [], "not needed"


def test_reconcilers_are_made_where_they_are_shown() -> None:
    makers = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Reconciler"
    ]
    assert makers == ["agent/host.py"]


async def test_what_failed_is_pending_until_it_succeeds(autojump_clock: trio.testing.MockClock) -> None:
    loop = Loop()
    assert loop.figures().pending == 0 and loop.figures().idle_s is None
    for _twice in range(2):
        with pytest.raises(OSError, match="no"), loop.run():
            raise OSError("no")
        await trio.sleep(5)
    found = loop.figures()
    assert (found.pending, found.oldest_age_s, found.errors, found.runs, found.idle_s) == (1, 10, 2, 2, 5)
    with loop.run():
        await trio.sleep(1)
        assert loop.figures().pending == 1
    found = loop.figures()
    assert (found.pending, found.oldest_age_s, found.errors, found.runs) == (0, 0, 2, 3)
    loop.due()
    await trio.sleep(3)
    loop.due()
    assert (loop.figures().pending, loop.figures().oldest_age_s) == (1, 3)
