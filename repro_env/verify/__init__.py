"""Facts about this machine and this data, compared with the lock."""
