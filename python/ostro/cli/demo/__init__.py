"""``ostro demo``: a whole cloud, used by the real ``openstack`` command, from nothing to nothing.

``steps`` says what is done and what must be seen; ``runner`` runs the client, keeps the table and waits; ``leftovers``
compares the machine before and after.
"""
