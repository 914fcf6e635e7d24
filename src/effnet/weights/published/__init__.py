"""The published sets of weights, one table per source."""
