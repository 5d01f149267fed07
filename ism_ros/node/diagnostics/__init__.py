"""The statuses on /diagnostics: counts, summaries and their publisher."""
