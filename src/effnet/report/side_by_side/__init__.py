"""Two runs side by side: a file for each section, from both runs to what a template shows."""
