"""Verification of objects under masks: their poses refined, and the evidence for and against each."""
