"""Block storage: Cinder's v3 API. Importing this package declares all its routes."""

from ostro.http.block import attachments as attachments
from ostro.http.block import catalog as catalog
from ostro.http.block import encryptions as encryptions
from ostro.http.block import limits as limits
from ostro.http.block import metadata as metadata
from ostro.http.block import qos_specs as qos_specs
from ostro.http.block import refusals as refusals
from ostro.http.block import services as services
from ostro.http.block import snapshot_metadata as snapshot_metadata
from ostro.http.block import snapshots as snapshots
from ostro.http.block import transfers as transfers
from ostro.http.block import types as types
from ostro.http.block import versions as versions
from ostro.http.block import volume_actions as volume_actions
from ostro.http.block import volumes as volumes
from ostro.http.block.service import BLOCK as BLOCK
from ostro.http.block.service import BLOCK_VERSIONS as BLOCK_VERSIONS
