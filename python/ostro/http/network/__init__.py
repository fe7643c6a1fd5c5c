"""Network: Neutron's v2.0 API. Importing this package declares all its routes."""

from ostro.http.network import absent as absent
from ostro.http.network import agents as agents
from ostro.http.network import extensions as extensions
from ostro.http.network import network_ip_availabilities as network_ip_availabilities
from ostro.http.network import networks as networks
from ostro.http.network import ports as ports
from ostro.http.network import quotas as quotas
from ostro.http.network import security_group_rules as security_group_rules
from ostro.http.network import security_groups as security_groups
from ostro.http.network import subnets as subnets
from ostro.http.network import tags as tags
from ostro.http.network import versions as versions
from ostro.http.network.service import NETWORK as NETWORK
