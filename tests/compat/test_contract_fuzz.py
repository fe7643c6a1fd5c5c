"""Whatever the contract in ``api/`` allows, and much that it forbids, is answered without a 500: by schemathesis, against a served cloud.

The same cases in every run. ``schemathesis run api/compute.json`` against a cloud of one's own goes further.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from schemathesis.core.result import Ok

from ostro.testing.up import Up

API = Path(__file__).parents[2] / "api"
SERVICES = ("identity", "compute", "placement", "image", "volume", "network", "object")
EXAMPLES = 5
"""Of each operation, valid and malformed ones."""
TIMEOUT_S = 60.0
NOT_TRIED = {"DELETE /v3/auth/tokens"}
"""It ends the token that all others are tried with."""


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with Up(tmp_path_factory.mktemp("fuzz") / "state") as running:
        running.start()
        yield running


def each_case(operation: Any, try_: Callable[[Any], None]) -> None:
    """Try valid and malformed requests of an operation."""
    modes = [schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE]
    valid, malformed = (operation.as_strategy(generation_mode=mode) for mode in modes)

    @hypothesis.settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(case=valid | malformed)
    def attempt(case: Any) -> None:
        try_(case)

    attempt()


@pytest.mark.parametrize("service", SERVICES)
def test_nothing_is_a_500(up: Up, service: str) -> None:
    schema = schemathesis.openapi.from_path(API / f"{service}.json")
    url = up.endpoint + schema.raw_schema["servers"][0]["url"]
    session = up.connect().session
    token, project_id = session.get_token(), session.get_project_id()
    answers: list[int] = []
    wrong: list[str] = []

    def send(case: Any) -> None:
        if "account" in case.path_parameters:
            case.path_parameters["account"] = project_id
        answer = case.call(base_url=url, headers={"X-Auth-Token": token}, session=client, timeout=TIMEOUT_S)
        answers.append(answer.status_code)
        # 501 and 503 are said on purpose; 500 never is.
        if answer.status_code == 500:
            wrong.append(case.as_curl_command())

    with requests.Session() as client:
        for result in schema.get_all_operations():
            assert isinstance(result, Ok), result
            operation = result.ok()
            if f"{operation.method.upper()} {operation.path}" not in NOT_TRIED:
                each_case(operation, send)
    assert wrong == [], f"{len(wrong)} of {len(answers)} requests"
    assert 200 in answers and answers.count(401) < len(answers) / 2, "most are answered by more than the frame"
    assert "request failed" not in up.log.read_text(errors="replace")
