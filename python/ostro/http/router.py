"""From a path to what answers it: a tree of segments, literal ones before parameters, with a step back where a branch ends.

A template is made of literal segments, ``{name}`` for a whole segment that isn't empty, ``{name:project}`` for one that looks like a
project's id, a segment with such names inside (``{name}.json``), and at its end ``{name:rest}`` for all that follows, slashes
included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ostro.model.errors import Bug

T = TypeVar("T")

_WHOLE = re.compile(r"\{\w+\}")
_NAME = re.compile(r"\{(\w+)(?::(\w+))?\}")
_KINDS = {None: "([^/]+)", "project": "([0-9a-f-]+)"}
_REST = re.compile(r"\{(\w+):rest\}")


@dataclass(frozen=True, slots=True)
class _Leaf(Generic[T]):
    """Where a template ends: the names of its parameters in order, and its target."""

    names: tuple[str, ...]
    target: T


@dataclass(slots=True)
class _Node(Generic[T]):
    """A place in the tree."""

    literal: dict[str, _Node[T]] = field(default_factory=dict)
    patterns: list[tuple[re.Pattern[str], _Node[T]]] = field(default_factory=list)
    parameter: _Node[T] | None = None
    rest: _Leaf[T] | None = None
    leaf: _Leaf[T] | None = None


class Router(Generic[T]):
    """All templates and their targets."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()

    def add(self, template: str, target: T) -> None:
        """Add a template. Raises Bug when it is there already."""
        node = self._root
        names: list[str] = []
        for segment in template.split("/")[1:]:
            if rest := _REST.fullmatch(segment):
                if node.rest is not None:
                    raise Bug(f"The path {template} is routed twice.")
                node.rest = _Leaf((*names, rest[1]), target)
                return
            names += [found[1] for found in _NAME.finditer(segment)]
            node = _child(node, segment)
        if node.leaf is not None:
            raise Bug(f"The path {template} is routed twice.")
        node.leaf = _Leaf(tuple(names), target)

    def find(self, path: str) -> tuple[T, dict[str, str]] | None:
        """The target of a path and its parameters, None where nothing is."""
        segments = path.split("/")
        values: list[str] = []
        leaf = _descend(self._root, segments, 1, values)
        if leaf is None:
            return None
        return leaf.target, dict(zip(leaf.names, values, strict=True))


def _child(node: _Node[T], segment: str) -> _Node[T]:
    """The node of a segment below ``node``, made if it isn't there."""
    if _WHOLE.fullmatch(segment):
        if node.parameter is None:
            node.parameter = _Node()
        return node.parameter
    if "{" not in segment:
        return node.literal.setdefault(segment, _Node())
    parts, at = [], 0
    for found in _NAME.finditer(segment):
        parts += [re.escape(segment[at : found.start()]), _KINDS[found[2]]]
        at = found.end()
    pattern = re.compile("".join([*parts, re.escape(segment[at:])]))
    for known, child in node.patterns:
        if known == pattern:
            return child
    child = _Node[T]()
    node.patterns.append((pattern, child))
    return child


def _descend(node: _Node[T], segments: Sequence[str], at: int, values: list[str]) -> _Leaf[T] | None:
    """The leaf of ``segments[at:]`` below ``node``; what its parameters matched is appended to ``values``."""
    if at == len(segments):
        return node.leaf
    segment = segments[at]
    child = node.literal.get(segment)
    if child is not None and (leaf := _descend(child, segments, at + 1, values)) is not None:
        return leaf
    held = len(values)
    for pattern, child in node.patterns:
        if found := pattern.fullmatch(segment):
            values += found.groups()
            if (leaf := _descend(child, segments, at + 1, values)) is not None:
                return leaf
            del values[held:]
    if node.parameter is not None and segment:
        values.append(segment)
        if (leaf := _descend(node.parameter, segments, at + 1, values)) is not None:
            return leaf
        del values[held:]
    if node.rest is not None and (rest := "/".join(segments[at:])):
        values.append(rest)
        return node.rest
    return None
