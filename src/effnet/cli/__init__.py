"""The command line: one file per command, each a screen long, with no logic of its own."""
