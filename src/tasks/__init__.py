"""Lightning modules: loss, metrics, training algorithm."""
