"""How each source names its tensors: one table per file, usable in both directions."""
