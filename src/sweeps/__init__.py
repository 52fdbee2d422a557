"""Sweeps: grids and searches over any configuration, stopped, restarted and spread over processes or a cluster."""
