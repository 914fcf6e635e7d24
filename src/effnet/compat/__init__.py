"""The interfaces of other libraries, on effnet's networks: one file per library."""
