"""Identity: Keystone's v3 API. Importing this package declares all its routes."""

from ostro.http.identity import application_credentials as application_credentials
from ostro.http.identity import assignments as assignments
from ostro.http.identity import auth as auth
from ostro.http.identity import catalog as catalog
from ostro.http.identity import consumers as consumers
from ostro.http.identity import credentials as credentials
from ostro.http.identity import domain_configs as domain_configs
from ostro.http.identity import domains as domains
from ostro.http.identity import ec2 as ec2
from ostro.http.identity import endpoint_groups as endpoint_groups
from ostro.http.identity import federation as federation
from ostro.http.identity import groups as groups
from ostro.http.identity import limits as limits
from ostro.http.identity import logins as logins
from ostro.http.identity import oauth1 as oauth1
from ostro.http.identity import oauth2 as oauth2
from ostro.http.identity import policies as policies
from ostro.http.identity import projects as projects
from ostro.http.identity import revocations as revocations
from ostro.http.identity import roles as roles
from ostro.http.identity import tokens as tokens
from ostro.http.identity import trusts as trusts
from ostro.http.identity import users as users
from ostro.http.identity import versions as versions
from ostro.http.identity.service import IDENTITY as IDENTITY
