"""Loaders of official checkpoints, one a family of models."""
