"""Datasets in the BOP format: reading them, predictions for them, evaluation, and a report."""
