"""Placement: the API of resource providers. Importing this package declares all its routes."""

from ostro.http.placement import aggregates as aggregates
from ostro.http.placement import allocation_candidates as allocation_candidates
from ostro.http.placement import allocations as allocations
from ostro.http.placement import inventories as inventories
from ostro.http.placement import reshaper as reshaper
from ostro.http.placement import resource_classes as resource_classes
from ostro.http.placement import resource_providers as resource_providers
from ostro.http.placement import traits as traits
from ostro.http.placement import usages as usages
from ostro.http.placement import versions as versions
from ostro.http.placement.service import PLACEMENT as PLACEMENT
