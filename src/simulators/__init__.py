"""Synthetic recordings with known ground truth."""
