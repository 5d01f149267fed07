"""The place where the real package has its compiled half."""
