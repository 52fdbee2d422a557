"""Imported once by the fork server: what every job would import and look up again, shared by all of them."""

import gc

import torchmetrics  # noqa: F401

from ..provenance import versions
from ..registry import sources
from . import worker  # noqa: F401

sources()
versions()
gc.collect()
gc.freeze()  # a job's garbage collection then leaves the shared pages alone, instead of copying them
