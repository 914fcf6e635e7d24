"""Which settings suit a person's data: cross-validated trials, and what they say."""
