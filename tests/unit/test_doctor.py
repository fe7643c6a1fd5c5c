"""The doctor's findings."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostro.cli import doctor
from ostro.cli.findings import Verdict


def test_every_trouble_has_a_remedy(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path)
    assert len(findings) > 10
    assert [f.what for f in findings if f.verdict is not Verdict.FINE and not f.remedy] == []


def test_missing_program_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PROGRAMS", (("no-such-program", "some-package"),))
    (finding,) = doctor.check_programs()
    assert finding.verdict is Verdict.WRONG
    assert "some-package" in finding.remedy


def test_state_that_does_not_exist_yet_is_measured_above(tmp_path: Path) -> None:
    rooms = list(doctor.check_room(tmp_path / "not" / "yet"))
    assert [f.what for f in rooms] == ["memory", f"disk at {tmp_path / 'not' / 'yet'}"]
