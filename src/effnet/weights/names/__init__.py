"""How each library names its tensors: a table per file, usable in both directions."""
