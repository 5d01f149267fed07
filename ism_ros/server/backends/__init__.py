"""Processes with a model, as the server uses them."""
