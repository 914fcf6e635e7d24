"""What comes in: data sets, decoding, transforms, batches."""
