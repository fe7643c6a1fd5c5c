"""Compute: Nova's v2.1 API. Importing this package declares all its routes."""

from ostro.http.compute import actions as actions
from ostro.http.compute import extra_specs as extra_specs
from ostro.http.compute import flavor_access as flavor_access
from ostro.http.compute import flavors as flavors
from ostro.http.compute import hypervisors as hypervisors
from ostro.http.compute import instance_actions as instance_actions
from ostro.http.compute import interfaces as interfaces
from ostro.http.compute import keypairs as keypairs
from ostro.http.compute import metadata as metadata
from ostro.http.compute import quotas as quotas
from ostro.http.compute import server_groups as server_groups
from ostro.http.compute import server_migrations as server_migrations
from ostro.http.compute import servers as servers
from ostro.http.compute import services as services
from ostro.http.compute import tags as tags
from ostro.http.compute import timeline as timeline
from ostro.http.compute import versions as versions
from ostro.http.compute import volume_attachments as volume_attachments
from ostro.http.compute.service import COMPUTE as COMPUTE
