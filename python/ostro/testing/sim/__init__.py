"""A whole cloud in virtual time: control plane, hosts, tenants and misfortunes in one ``trio.run``, all from a seed.

What runs is the product: the gate, services, sagas, sweeps and store (`plane`), and on each host the real agent with the fake drivers
(`machine`). Between them is a simulated network (`wire`), which delays, loses and repeats. `tenants` want things, `nemesis` breaks things,
and the checkers in `ostro.testing.checkers` look on. `simulation` puts them together: a turbulent time, then calm, in which everything
must converge, then an end, after which nothing may be left. ``python -m ostro.testing.sim --seed N`` runs one; the same seed does the same
thing, event by event, in any process.
"""
