"""Networks for a budget: one chosen, or a scaling solved or searched."""
