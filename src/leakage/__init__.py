"""Does a split leak? Copies, simultaneous recordings, shared people and an untrained probe of a windowed data set."""
