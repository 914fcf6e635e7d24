"""Models as files of other programs: one file per kind, and what compares each with torch."""
