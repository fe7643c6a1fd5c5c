"""What is said of an LDAP server, and what one says: how ``ldap`` and ``directories`` speak to each other.

Options are Keystone's of the group ``[ldap]``.
"""

from __future__ import annotations

import msgspec

SCOPES = ("one", "sub")
CERTIFICATES = ("demand", "allow", "never")


class LdapOptions(msgspec.Struct, frozen=True):
    """Where the server is, and how it names things."""

    url: str = "ldap://localhost"
    user: str = ""
    password: str = ""
    suffix: str = "cn=example,cn=com"
    query_scope: str = "one"
    page_size: int = 0
    chase_referrals: bool = False
    user_tree_dn: str = ""
    user_filter: str = ""
    user_objectclass: str = "inetOrgPerson"
    user_id_attribute: str = "cn"
    user_name_attribute: str = "sn"
    user_mail_attribute: str = "mail"
    user_description_attribute: str = "description"
    user_enabled_attribute: str = "enabled"
    user_enabled_mask: int = 0
    user_enabled_default: str = "True"
    user_enabled_invert: bool = False
    group_tree_dn: str = ""
    group_filter: str = ""
    group_objectclass: str = "groupOfNames"
    group_id_attribute: str = "cn"
    group_name_attribute: str = "ou"
    group_member_attribute: str = "member"
    group_members_are_ids: bool = False
    group_desc_attribute: str = "description"
    use_tls: bool = False
    tls_cacertfile: str = ""
    tls_cacertdir: str = ""
    tls_req_cert: str = "demand"

    @property
    def users_dn(self) -> str:
        """The tree of users."""
        return self.user_tree_dn or f"ou=Users,{self.suffix}"

    @property
    def groups_dn(self) -> str:
        """The tree of groups."""
        return self.group_tree_dn or f"ou=UserGroups,{self.suffix}"


class LdapUser(msgspec.Struct, frozen=True):
    """A user as the server has it. ``local_id`` is what it is called there for good."""

    local_id: str
    name: str
    dn: str
    email: str = ""
    description: str = ""
    enabled: bool = True


class LdapGroup(msgspec.Struct, frozen=True):
    """A group as the server has it. ``members`` are DNs in one form, or local ids where the server is said to hold those."""

    local_id: str
    name: str
    description: str = ""
    members: frozenset[str] = frozenset()


class LdapLogin(msgspec.Struct, frozen=True):
    """Who has logged in, and the groups that it is in."""

    user: LdapUser
    groups: tuple[LdapGroup, ...]


def member_key(options: LdapOptions, user: LdapUser) -> str:
    """What a group calls this member."""
    return user.local_id if options.group_members_are_ids else user.dn
