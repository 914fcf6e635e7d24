"""The report's sections: a file each, from what is known of a run to what a template shows."""
