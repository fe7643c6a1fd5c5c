"""Conformance suites: what every implementation of a driver must do, as test classes to be subclassed with fixtures."""
