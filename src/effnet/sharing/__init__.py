"""Sharing a model: a folder that effnet and timm read, on a disk or on the Hugging Face hub."""
