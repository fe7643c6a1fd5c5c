"""Measures the cloud at scale: ``python -m bench.scale [rates] [large] [agents] [restart]``, one JSON object a line as bench.api has them.

Names end in ``.sqlite`` or ``.postgres`` where the engine matters; a peer is OpenStack's figure for what is measured (`bench.api.peers`).
"""
