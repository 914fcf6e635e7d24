"""Judging a model: figures and pictures of them."""
