"""The command line: `ism` and its subcommands."""
