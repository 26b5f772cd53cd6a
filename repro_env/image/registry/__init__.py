"""Talking to image registries, by the OCI distribution specification 1.1.

oras (PyPI, 0.2) was judged first: it neither mounts across repositories nor resumes an upload nor heeds Retry-After,
and knows no certificates of one host alone, so this stands on `edges.http_client` (urllib3) instead.
"""
