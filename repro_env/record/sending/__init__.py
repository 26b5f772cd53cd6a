"""Runs told to other tools as they happen: kept first, then sent, and sent later where a tool cannot be reached."""
