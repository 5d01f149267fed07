"""How the threads of numpy and PyTorch wait for each other: to be said before either is imported."""

from __future__ import annotations

import os

PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
"""Environment in which threads sleep while they wait. By default they spin, which costs tenfold on cores that the
camera driver or another program needs as well."""


def use_patient_threads() -> None:
    """Sets PATIENT_THREADS for this process where the user has not decided otherwise; numpy and torch read it once."""
    for name, value in PATIENT_THREADS.items():
        os.environ.setdefault(name, value)
