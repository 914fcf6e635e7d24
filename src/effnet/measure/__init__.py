"""Measuring a network: parameters, multiply-adds."""
