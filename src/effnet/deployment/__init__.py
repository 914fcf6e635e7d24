"""Answers outside of training: predictions of files."""
