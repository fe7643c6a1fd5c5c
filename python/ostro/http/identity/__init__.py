"""Identity: Keystone's v3 API. Importing this package declares all its routes."""

from ostro.http.identity import tokens as tokens
from ostro.http.identity import versions as versions
from ostro.http.identity.service import IDENTITY as IDENTITY
