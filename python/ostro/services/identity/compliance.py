"""What an operator demands of passwords and logins: Keystone's ``[security_compliance]``, by the same names; and of limits (``[unified_limit]``).

``identity.yaml`` in the state directory sets them. As it ships, two wrong passwords in a row lock a user's password for five seconds: a brake
on guessing that a person hardly feels; and the last two passwords can't be taken again.
"""

from __future__ import annotations

import re

import msgspec

from ostro.model.errors import Invalid
from ostro.model.quotas import LimitModel

DAY_US = 86_400 * 1_000_000


class Compliance(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """0 and the empty text switch a rule off."""

    lockout_failure_attempts: int = 2
    lockout_duration: int = 5
    """Seconds."""
    unique_last_password_count: int = 2
    minimum_password_age: int = 0
    """Days."""
    password_expires_days: int = 0
    password_regex: str = ""
    password_regex_description: str = ""
    change_password_upon_first_use: bool = False
    enforcement_model: LimitModel = LimitModel.FLAT
    """Whether limits mind the hierarchy of projects."""

    def expires_at_us(self, set_at_us: int, options: dict[str, object], *, first_use: bool) -> int:
        """When a password that was set then must be changed; 0 for never."""
        if (
            first_use
            and self.change_password_upon_first_use
            and not options.get("ignore_change_password_upon_first_use")
        ):
            return max(set_at_us, 1)
        if not self.password_expires_days or options.get("ignore_password_expiry"):
            return 0
        return set_at_us + self.password_expires_days * DAY_US

    def check_strength(self, password: str) -> None:
        """Raise Invalid for a password that the operator's expression refuses."""
        if self.password_regex and re.match(self.password_regex, password) is None:
            what = self.password_regex_description or "a rule of this cloud"
            raise Invalid(f"The password does not match the requirements: {what}.")

    def locked_until_us(self, failures: int, last_at_us: int) -> int:
        """Until when so many wrong passwords in a row lock a user out; 0 when they don't."""
        if not self.lockout_failure_attempts or failures < self.lockout_failure_attempts:
            return 0
        return last_at_us + self.lockout_duration * 1_000_000


AS_SHIPPED = Compliance()


def read_compliance(data: object) -> Compliance:
    """From a parsed identity.yaml. Raises Invalid."""
    try:
        return msgspec.convert(data or {}, Compliance)
    except msgspec.ValidationError as error:
        raise Invalid(f"identity.yaml: {error}") from error
