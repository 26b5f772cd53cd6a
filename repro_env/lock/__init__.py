"""`repro.lock`: its model, its canonical text, what makes it stale, and what changed between two of them. Pure."""
