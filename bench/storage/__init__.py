"""Storage: objects and volumes on Ceph beside Ceph's own gateway, on local disk, and the raw cluster below them."""
