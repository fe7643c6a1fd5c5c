"""A small client of our own APIs, for commands that an operator runs beside the cloud. Synchronous, standard library only."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import orjson
import yaml

from ostro.cli.state import StateDir, Usage
from ostro.model.errors import OstroError

TIMEOUT_S = 300.0


class ApiError(OstroError):
    """The API refused a call."""


def read_cloud(state: StateDir) -> dict[str, Any]:
    """The cloud of clouds.yaml. Raises Usage when none was started here."""
    if not state.clouds_yaml.exists():
        raise Usage(f"No cloud has been started on {state.root}. Run `ostro up --state {state.root}` first.")
    cloud: dict[str, Any] = yaml.safe_load(state.clouds_yaml.read_text())["clouds"]["ostro"]
    return cloud


def read_auth(state: StateDir) -> dict[str, str]:
    """How the administrator logs in. Raises Usage when no cloud was started here."""
    auth: dict[str, str] = read_cloud(state)["auth"]
    return auth


def host_and_port(state: StateDir) -> tuple[str, int]:
    """Where the control plane listens."""
    url = urlsplit(read_auth(state)["auth_url"])
    return url.hostname or "127.0.0.1", url.port or 80


def _said(body: bytes) -> str:
    """What an error's body says, in whichever service's shape."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode(errors="replace")[:300]
    while isinstance(found, dict):
        found = found.get("message") or next(iter(found.values()), "")
    return str(found)


class Client:
    """Calls as the administrator of the cloud at a state directory."""

    def __init__(self, state: StateDir) -> None:
        self._auth = read_auth(state)
        self._host, self._port = host_and_port(state)
        self._tls = None
        if self._auth["auth_url"].startswith("https:"):
            self._tls = ssl.create_default_context(cafile=read_cloud(state).get("cacert"))
        self._token = self._log_in()

    def _log_in(self) -> str:
        auth = self._auth
        domain = {"id": auth["user_domain_id"]}
        user = {"name": auth["username"], "password": auth["password"], "domain": domain}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": auth["project_name"], "domain": domain}},
            }
        }
        self._token = ""
        _status, headers, _data = self._call("POST", "/identity/v3/auth/tokens", orjson.dumps(body))
        return headers["X-Subject-Token"]

    def _call(
        self,
        method: str,
        path: str,
        data: bytes | Iterable[bytes] | None,
        content_type: str = "application/json",
        more: Mapping[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._tls is None:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT_S)
        else:
            connection = http.client.HTTPSConnection(self._host, self._port, timeout=TIMEOUT_S, context=self._tls)
        headers = {**({"X-Auth-Token": self._token} if self._token else {}), **(more or {})}
        if data is not None:
            headers["Content-Type"] = content_type
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            body = response.read()
        except OSError as error:
            raise Usage(
                f"Nothing answers at {self._host}:{self._port}. Is `ostro up` or `ostro api` running? {error}"
            ) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise ApiError(
                f"{method} {path}: {response.status} {body.decode(errors='replace')[:300]}",
                detail=_said(body),
            )
        return response.status, response.headers, body

    def call(self, method: str, path: str, body: Any = None, version: str = "") -> Any:
        """One call with JSON in and out, at a microversion of Compute's. Raises ApiError."""
        more = {"OpenStack-API-Version": f"compute {version}"} if version else {}
        _status, _headers, data = self._call(method, path, None if body is None else orjson.dumps(body), more=more)
        return orjson.loads(data) if data else None

    def upload(self, path: str, file: Path) -> None:
        """PUT a file, streamed. Raises ApiError."""
        with file.open("rb") as stream:
            self._call("PUT", path, iter(lambda: stream.read(1 << 20), b""), "application/octet-stream")
