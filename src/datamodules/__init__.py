"""Files to batches: readers, splits, folds, fingerprints."""
