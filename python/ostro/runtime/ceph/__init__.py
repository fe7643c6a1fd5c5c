"""Ceph: which cluster (`config`), the connection to it (`connection`), single objects (`objects`), and errors (`errors`).

Only what is configured with a ceph.conf imports anything but `config`: the bindings come from the system's packages and may be missing.
"""
