"""Shim for pip versions that do not read pyproject.toml; the metadata is there."""

from setuptools import setup

setup()
