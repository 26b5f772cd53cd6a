"""`repro.toml`, or `[tool.repro]` in `pyproject.toml`, as a checked `Project`. Pure."""
