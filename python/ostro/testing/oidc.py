"""Starts the OpenID provider of ``oidc_provider`` and speaks to it as its users and operators do."""

from __future__ import annotations

import subprocess
import sys
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from urllib.request import HTTPErrorProcessor, Request, build_opener

import orjson

from ostro.model.errors import Bug

PATIENCE_S = 60.0


class _Plain(HTTPErrorProcessor):
    """Redirects are answers, and so are errors."""

    def http_response(self, request: Any, response: Any) -> Any:
        return response


class OidcServer:
    """A running provider."""

    def __enter__(self) -> OidcServer:
        words = [sys.executable, "-m", "ostro.testing.oidc_provider"]
        self._process = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self._process.stdout is not None
        self.issuer = self._process.stdout.readline().decode().strip()
        if not self.issuer:
            raise Bug("the OpenID provider did not start")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def _call(self, path: str, data: bytes | None = None, content_type: str = "application/json") -> Any:
        url = path if path.startswith("http") else self.issuer + path
        request = Request(url, data, {"Content-Type": content_type})
        return build_opener(_Plain).open(request, timeout=PATIENCE_S)

    def access_token(self, user: str = "ann", **more: str) -> str:
        """An access token by the password grant."""
        form = {"grant_type": "password", "username": user, "password": f"pw-{user}", "scope": "openid"}
        form |= {"client_id": "ostro", "client_secret": "hush", **more}
        answer = self._call("/token", urlencode(form).encode(), "application/x-www-form-urlencoded")
        return str(orjson.loads(answer.read())["access_token"])

    def sign(self, claims: dict[str, Any] | None = None, **header: Any) -> str:
        """A token of Ann's with other claims (None removes one) and header, rightly signed."""
        body = orjson.dumps({"claims": claims or {}, "header": header})
        return str(orjson.loads(self._call("/test/sign", body).read())["token"])

    def set(self, **given: Any) -> None:
        """``rotate`` its keys, answer with a ``wrong_nonce``, issue for another ``audience``; what isn't given is as it should be again."""
        self._call("/test/set", orjson.dumps(given)).read()

    def log_in(self, authorization_url: str, user: str = "ann") -> dict[str, str]:
        """What the browser brings back when a user logs in at this address."""
        answer = self._call(f"{authorization_url}&{urlencode({'user': user})}")
        location = answer.headers["Location"]
        assert location, answer.read()
        return {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
