"""The recipe, the loop and the run folder."""
