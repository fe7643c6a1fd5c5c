"""A real Ceph in a directory, for tests, the demonstration and measurements."""

from ostro.testing.ceph.cluster import CephCluster, why_not
from ostro.testing.ceph.settings import CephOptions

__all__ = ["CephCluster", "CephOptions", "why_not"]
