"""Datasets in the BOP format: read them, write predictions for them, judge and show the predictions."""
