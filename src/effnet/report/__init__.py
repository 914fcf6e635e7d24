"""The report: one HTML page of a run, or of two side by side."""
