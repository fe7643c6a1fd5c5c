"""Measurements of the Rust core as Python sees it: the price of a call, of a feed, and a real Open vSwitch."""
