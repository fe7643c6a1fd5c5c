"""Identity: Keystone's v3 API. Importing this package declares all its routes."""

from ostro.http.identity import assignments as assignments
from ostro.http.identity import auth as auth
from ostro.http.identity import catalog as catalog
from ostro.http.identity import domains as domains
from ostro.http.identity import projects as projects
from ostro.http.identity import roles as roles
from ostro.http.identity import tokens as tokens
from ostro.http.identity import users as users
from ostro.http.identity import versions as versions
from ostro.http.identity.service import IDENTITY as IDENTITY
