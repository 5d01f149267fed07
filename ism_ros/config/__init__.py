"""Settings: names and defaults, profiles, sources, folders of the user."""
