"""Fault points: what each kind does when one is passed."""

from __future__ import annotations

import pytest

from ostro.runtime.faults import Crash, CrashAt, KillAt, NoFaults, RecordFaults, faults_from_environment


def test_crash_comes_once_at_the_nth_pass() -> None:
    faults = CrashAt("a", nth=2)
    faults.hit("a")
    faults.hit("b")
    with pytest.raises(Crash):
        faults.hit("a")
    faults.hit("a")


def test_no_handler_of_exceptions_survives_a_crash() -> None:
    assert not issubclass(Crash, Exception)


def test_record() -> None:
    faults = RecordFaults()
    for name in ("a", "b", "a"):
        faults.hit(name)
    assert faults.seen == ["a", "b", "a"]


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSTRO_FAULT", raising=False)
    assert isinstance(faults_from_environment(), NoFaults)
    monkeypatch.setenv("OSTRO_FAULT", "somewhere")
    faults = faults_from_environment()
    assert isinstance(faults, KillAt)
    faults.hit("elsewhere")
