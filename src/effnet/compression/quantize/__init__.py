"""Networks in 8-bit integers: one subject a file, from the pictures that show the ranges of values.

`calibration` chooses those pictures, a file for each runtime's tools has its ways to quantize, from
the quickest to the most careful, and `quantize` tries them until one keeps the accuracy.
"""
