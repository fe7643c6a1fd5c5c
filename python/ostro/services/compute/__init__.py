"""Compute: flavors, keypairs and servers."""
