"""The `repro` command: one click command a file, each imported only when it is asked for."""
