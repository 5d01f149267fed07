"""The report of a BOP run."""
