"""Uploaded objects and the jobs that onboard them."""
