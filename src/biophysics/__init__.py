"""Equations of nature in torch and numba: neural masses, gates, currents, synapses, integrators."""
