"""An OpenID provider for tests, as a process of its own: Authlib's server, real HTTP, real signatures.

``python -m ostro.testing.oidc_provider`` listens on a free port of the loopback and prints its issuer. It knows the users of ``USERS`` and the clients of
``CLIENTS``. Below ``/test`` it does what no provider should: signs whatever it is told, changes its keys, answers with a wrong nonce.
"""

from __future__ import annotations

import secrets
import sys
import time
from typing import Any

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, scope_to_list
from authlib.oauth2.rfc6749.grants import (
    AuthorizationCodeGrant,
    ClientCredentialsGrant,
    ResourceOwnerPasswordCredentialsGrant,
)
from authlib.oauth2.rfc6750 import BearerTokenGenerator
from authlib.oauth2.rfc7636 import CodeChallenge
from authlib.oidc.core.grants import OpenIDCode
from flask import Flask, jsonify, request
from joserfc import jwt
from joserfc.jwk import KeySet, RSAKey
from werkzeug.serving import make_server

CLIENTS = {"ostro": "hush", "other": "hush"}
USERS: dict[str, dict[str, Any]] = {
    "ann": {
        "sub": "sub-ann",
        "name": "Ann A.",
        "email": "ann@acme.example",
        "groups": ["staff", "ops"],
        "password": "pw-ann",
    },
    "bob": {"sub": "sub-bob", "name": "Bob B.", "email": "bob@acme.example", "groups": ["staff"], "password": "pw-bob"},
}
SCOPES = "openid email profile"
LIFETIME_S = 3600


class User:
    """Somebody who can log in here."""

    def __init__(self, name: str) -> None:
        self.claims = {key: value for key, value in USERS[name].items() if key != "password"}

    def get_user_id(self) -> str:
        """What tokens call it."""
        return str(self.claims["sub"])


class Client(ClientMixin):
    """A program that may ask."""

    def __init__(self, client_id: str) -> None:
        self.client_id = client_id

    def get_client_id(self) -> str:
        return self.client_id

    def get_default_redirect_uri(self) -> str:
        return ""

    def get_allowed_scope(self, scope: str) -> str:
        return " ".join(one for one in scope_to_list(scope) or [] if one in SCOPES.split())

    def check_redirect_uri(self, redirect_uri: str) -> bool:
        return bool(redirect_uri)

    def check_client_secret(self, client_secret: str) -> bool:
        return CLIENTS[self.client_id] == client_secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method in ("client_secret_basic", "client_secret_post")

    def check_response_type(self, response_type: str) -> bool:
        return response_type == "code"

    def check_grant_type(self, grant_type: str) -> bool:
        return True


class Code:
    """An authorization code."""

    def __init__(self, code: str, asked: Any, user: User) -> None:
        self.code = code
        self.user = user
        self.client_id = asked.payload.client_id
        self.redirect_uri = asked.payload.redirect_uri
        self.scope = asked.payload.scope
        self.nonce = asked.payload.data.get("nonce")
        self.code_challenge = asked.payload.data.get("code_challenge")
        self.code_challenge_method = asked.payload.data.get("code_challenge_method")

    def get_redirect_uri(self) -> Any:
        return self.redirect_uri

    def get_scope(self) -> Any:
        return self.scope

    def get_nonce(self) -> Any:
        return STATE.wrong_nonce or self.nonce

    def get_auth_time(self) -> int:
        return int(time.monotonic())

    def get_acr(self) -> None:
        return None

    def get_amr(self) -> None:
        return None


class State:
    """What the provider remembers."""

    def __init__(self) -> None:
        self.issuer = ""
        self.codes: dict[str, Code] = {}
        self.opaque: dict[str, dict[str, Any]] = {}
        self.wrong_nonce = ""
        self.audience = ""
        self.generation = 0
        self.rotate()

    def rotate(self) -> None:
        """Sign with a new key from now on, and forget the old one."""
        self.generation += 1
        self.key = RSAKey.generate_key(2048, {"kid": f"key-{self.generation}", "use": "sig", "alg": "RS256"})

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        """A JWT."""
        return jwt.encode({"alg": "RS256", "kid": self.key.kid, "typ": "at+jwt", **header}, claims, self.key)

    def claims_for(self, client_id: str, user: User | None) -> dict[str, Any]:
        """What an access token says."""
        now_s = int(time.time())  # noqa: TID251 - a process of its own, with the real clock
        about = user.claims if user else {"sub": client_id}
        return {
            "iss": self.issuer,
            "aud": self.audience or client_id,
            "iat": now_s,
            "exp": now_s + LIFETIME_S,
            "client_id": client_id,
            "jti": secrets.token_hex(8),
            **about,
        }


STATE = State()


class AuthorizationCode(AuthorizationCodeGrant):
    """The code grant over ``STATE``."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def save_authorization_code(self, code: str, asked: Any) -> None:
        STATE.codes[code] = Code(code, asked, asked.user)

    def query_authorization_code(self, code: str, client: Client) -> Code | None:
        found = STATE.codes.get(code)
        return found if found and found.client_id == client.client_id else None

    def delete_authorization_code(self, code: Code) -> None:
        del STATE.codes[code.code]

    def authenticate_user(self, code: Code) -> User:
        return code.user


class OpenId(OpenIDCode):
    """ID tokens."""

    def exists_nonce(self, nonce: str, asked: Any) -> bool:
        return False

    def resolve_client_private_key(self, client: Client) -> Any:
        return STATE.key

    def get_client_algorithm(self, client: Client) -> str:
        return "RS256"

    def get_encode_header(self, client: Client) -> dict[str, Any]:
        return {"alg": "RS256", "kid": STATE.key.kid}

    def get_client_claims(self, client: Client) -> dict[str, Any]:
        now_s = int(time.time())  # noqa: TID251 - as above
        return {"iss": STATE.issuer, "aud": [client.client_id], "iat": now_s, "exp": now_s + LIFETIME_S}

    def generate_user_info(self, user: User, scope: str) -> dict[str, Any]:
        return dict(user.claims)


class Password(ResourceOwnerPasswordCredentialsGrant):
    """The password grant."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")

    def authenticate_user(self, username: str, password: str) -> User | None:
        return User(username) if username in USERS and USERS[username]["password"] == password else None


class Clients(ClientCredentialsGrant):
    """The client credentials grant."""

    TOKEN_ENDPOINT_AUTH_METHODS = ("client_secret_basic", "client_secret_post")


def make_access_token(client: Client, grant_type: str, user: User | None, scope: str, **_more: Any) -> str:
    """A JWT, or an opaque word when the tests ask for that."""
    claims = STATE.claims_for(client.client_id, user)
    token = STATE.sign(claims)
    if request.values.get("opaque"):
        token = f"opaque-{len(STATE.opaque)}"
    STATE.opaque[token] = claims
    return token


app = Flask(__name__)
server = AuthorizationServer(app, lambda id_: Client(id_) if id_ in CLIENTS else None, lambda token, asked: None)
server.register_token_generator("default", BearerTokenGenerator(make_access_token))
server.register_grant(AuthorizationCode, [OpenId(require_nonce=True), CodeChallenge(required=False)])
server.register_grant(Password)
server.register_grant(Clients)


@app.get("/.well-known/openid-configuration")
def discovery() -> Any:
    issuer = STATE.issuer
    return jsonify(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        introspection_endpoint=f"{issuer}/introspect",
        userinfo_endpoint=f"{issuer}/userinfo",
        jwks_uri=f"{issuer}/jwks",
        grant_types_supported=["authorization_code", "password", "client_credentials"],
        token_endpoint_auth_methods_supported=["client_secret_basic", "client_secret_post"],
    )


@app.get("/jwks")
def jwks() -> Any:
    return jsonify(KeySet([STATE.key]).as_dict(private=False))


@app.get("/authorize")
def authorize() -> Any:
    """``user`` in the query is who sits before the browser."""
    user = User(request.args.get("user", "ann"))
    grant = server.get_consent_grant(end_user=user)
    return server.create_authorization_response(grant_user=user, grant=grant)


@app.post("/token")
def issue_token() -> Any:
    return server.create_token_response()


@app.post("/introspect")
def introspect() -> Any:
    claims = STATE.opaque.get(request.form["token"])
    if (
        request.authorization is None
        or CLIENTS.get(request.authorization.username or "") != request.authorization.password
    ):
        return jsonify(error="invalid_client"), 401
    return jsonify({"active": True, **claims} if claims else {"active": False})


@app.get("/userinfo")
def userinfo() -> Any:
    token = request.headers.get("Authorization", "").partition(" ")[2]
    claims = STATE.opaque.get(token)
    return jsonify({**claims, "nickname": f"nick-{claims['sub']}"}) if claims else (jsonify(error="invalid_token"), 401)


@app.post("/test/sign")
def sign_anything() -> Any:
    """A token with whatever claims and header."""
    given = request.get_json()
    claims = {**STATE.claims_for("ostro", User("ann")), **given.get("claims", {})}
    claims = {name: value for name, value in claims.items() if value is not None}
    return jsonify(token=STATE.sign(claims, **given.get("header", {})))


@app.post("/test/set")
def set_anything() -> Any:
    given = request.get_json()
    if given.get("rotate"):
        STATE.rotate()
    STATE.wrong_nonce = given.get("wrong_nonce", "")
    STATE.audience = given.get("audience", "")
    return jsonify(done=True)


def main() -> None:
    """Serve until killed."""
    http = make_server("127.0.0.1", 0, app, threaded=True)
    STATE.issuer = f"http://127.0.0.1:{http.server_port}"
    sys.stdout.write(STATE.issuer + "\n")
    sys.stdout.flush()
    http.serve_forever()


if __name__ == "__main__":
    main()
