"""Checks of an installation: what the machine has, and whether the models find what is in a sample scene."""
