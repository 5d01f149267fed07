"""Objects to look for: what they are, how they become known, and where they are kept."""
