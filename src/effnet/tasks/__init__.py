"""One file per task: everything task-specific and nothing else."""
