"""Microversions: what a client asked for, and what a route covers.

Source: the API-WG guideline "Microversion Specification". The header is ``OpenStack-API-Version: <type> X.Y``; Compute also has its older
``X-OpenStack-Nova-API-Version``. Without a header the minimum is meant; ``latest`` is the maximum. A version that
can't be parsed is 400, one outside the range 406.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from ostro.http.exchange import RequestHeaders
from ostro.model.errors import Invalid, OstroError

_FORM = re.compile(r"([1-9]\d{0,2})\.(0|[1-9]\d{0,3})")


class Version(NamedTuple):
    """A microversion; ordered."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}"


class VersionNotAcceptable(OstroError):
    """A well-formed version that the service does not have; it has those from ``low`` to ``high``."""

    def __init__(self, text: str, low: Version, high: Version) -> None:
        super().__init__(f"Version {text} is not supported by the API. Minimum is {low} and maximum is {high}.")
        self.low = low
        self.high = high


@dataclass(frozen=True)
class VersionRange:
    """The microversions of a service. ``names`` are the types it answers to in the header; ``legacy_header`` carries a bare version."""

    low: Version
    high: Version
    names: tuple[str, ...]
    legacy_header: str = ""

    def parse(self, text: str) -> Version:
        """A version in the range. Raises Invalid, VersionNotAcceptable."""
        if text == "latest":
            return self.high
        found = _FORM.fullmatch(text)
        if found is None:
            raise Invalid(f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum.")
        version = Version(int(found[1]), int(found[2]))
        if not self.low <= version <= self.high:
            raise VersionNotAcceptable(text, self.low, self.high)
        return version

    def negotiate(self, headers: RequestHeaders) -> Version:
        """The version that the request means."""
        for part in headers.get("OpenStack-API-Version", "").split(","):
            words = part.split()
            if len(words) == 2 and words[0].lower() in self.names:
                return self.parse(words[1])
            if len(words) == 1 and words[0].lower() in self.names:
                raise Invalid(f"API Version String {part.strip()} is of invalid format.")
        if self.legacy_header and (text := headers.get(self.legacy_header, "")):
            return self.parse(text.strip())
        return self.low

    def response_headers(self, version: Version) -> list[tuple[str, str]]:
        """What an answer says about its version."""
        out = [("OpenStack-API-Version", f"{self.names[0]} {version}"), ("Vary", "OpenStack-API-Version")]
        if self.legacy_header:
            out += [(self.legacy_header, str(version)), ("Vary", self.legacy_header)]
        return out
