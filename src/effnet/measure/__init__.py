"""Measuring a network: what it holds and computes, how long and how much memory a run takes."""
