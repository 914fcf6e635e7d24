"""EfficientNet as scikit-learn has its estimators."""
