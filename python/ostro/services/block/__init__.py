"""Volumes on the disks of hosts."""
