"""Measures the API over HTTP: ``python -m bench.api`` starts a cloud with the fake hypervisor, or takes any OpenStack endpoint.

Prints one JSON object a line: ``name``, ``value``, ``unit``, and where there is one ``floor`` or ``peer`` and the ``ratio`` to it. A
floor is measured in the same run: a bare ASGI application on Hypercorn's trio worker, as small as it can be. A peer is OpenStack's
own figure on a machine of this size (see peers.py). Server, load and floor share the machine, so it is the ratios that count.
"""
