"""Who asks, for what scope, and when."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import msgspec

from ostro.model.errors import Forbidden
from ostro.model.ids import new_hex, new_uuid
from ostro.model.policy import NO_POLICIES, Policies
from ostro.model.quotas import FLAT_RULES, LimitRules


class Actor(msgspec.Struct, frozen=True):
    """What a valid token says, roles already expanded by the implied ones. At most one scope is set."""

    user_id: str
    user_name: str
    user_domain_id: str
    user_domain_name: str
    roles: frozenset[str] = frozenset()
    role_ids: tuple[tuple[str, str], ...] = ()
    """(id, name) of each role, ordered by name."""
    project_id: str = ""
    project_name: str = ""
    project_domain_id: str = ""
    project_domain_name: str = ""
    domain_id: str = ""
    domain_name: str = ""
    system: bool = False
    methods: tuple[str, ...] = ()
    audit_ids: tuple[str, ...] = ()
    issued_at_us: int = 0
    expires_at_us: int = 0
    password_expires_at_us: int = 0
    """0 for never."""
    trust_id: str = ""
    trustor_id: str = ""
    trustee_id: str = ""
    trust_impersonates: bool = False
    application_credential_id: str = ""
    unrestricted: bool = True
    """Whether the token may make and end application credentials and trusts; False for most application credentials."""
    access_rules: tuple[tuple[str, str, str], ...] | None = None
    """(service, method, path) that an application credential is limited to; None for everything."""
    access_token_id: str = ""
    consumer_id: str = ""
    idp_id: str = ""
    """The identity provider that vouches for the user; then also by which protocol, and for which groups."""
    protocol_id: str = ""
    group_ids: tuple[str, ...] = ()

    @property
    def is_delegated(self) -> bool:
        """Whether the token came from a trust, an application credential or OAuth: it speaks for one project and no further."""
        return bool(self.trust_id or self.application_credential_id or self.access_token_id)


NOBODY = Actor(user_id="", user_name="", user_domain_id="", user_domain_name="")


@dataclass(frozen=True, slots=True)
class Context:
    """One request: the actor, the request's id, the time it came, and where new ids come from.

    Ids are drawn from the world's random source. A transaction that is run again draws afresh, and nothing of its failed
    attempt remains, so that is as good as choosing them before.
    """

    actor: Actor
    request_id: str
    now_us: int
    rng: random.Random = field(repr=False)
    policies: Policies = field(default=NO_POLICIES, repr=False)
    limits: LimitRules = field(default=FLAT_RULES, repr=False)

    @property
    def user_id(self) -> str:
        return self.actor.user_id

    @property
    def project_id(self) -> str:
        """The scope's project; empty when the token has another scope or none."""
        return self.actor.project_id

    @property
    def is_admin(self) -> bool:
        """Whether the actor has the admin role in whatever scope."""
        return "admin" in self.actor.roles

    def may(self, policy: str, **target: object) -> bool:
        """Whether a policy allows the actor this; names in ``target`` stand for dots by double underscores."""
        named = {name.replace("__", "."): value for name, value in target.items()}
        return self.policies.allows(policy, self.actor, named)

    def may_also(self, policy: str, project_id: str = "", user_id: str = "") -> bool:
        """Whether the actor may do or see a part of something that only administrators may, unless the operator's policy.yaml says otherwise.

        Whose it is: by default the actor's own.
        """
        if policy not in self.policies:
            return self.is_admin
        owner = project_id or self.project_id
        return self.may(policy, project_id=owner, tenant_id=owner, user_id=user_id or self.user_id)

    def enforce(self, policy: str, **target: object) -> None:
        """Raise Forbidden unless ``may``."""
        if not self.may(policy, **target):
            raise Forbidden(f"You are not authorized to perform the requested action: {policy}.")

    def new_id(self) -> str:
        """A new UUID."""
        return new_uuid(self.rng)

    def new_hex_id(self) -> str:
        """A new UUID without dashes, as Identity has them."""
        return new_hex(self.rng)
