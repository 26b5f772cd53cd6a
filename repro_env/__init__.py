"""Reproducible environments for AI pipelines: one lock, one image a step, verified, run and recorded."""

__version__ = "0.1.0"
