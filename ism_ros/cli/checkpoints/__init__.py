"""Subcommands about checkpoints: which there are, and their networks as files for other programs."""
