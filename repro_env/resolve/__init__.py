"""From what a project asks for to what its lock pins: Python packages, Debian packages, data."""
