"""Data inputs: manifests, and the cache that spares reading unchanged files again."""
