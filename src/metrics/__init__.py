"""Metrics that the field needs and no library has."""
