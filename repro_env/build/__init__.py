"""From a lock to images in the store: fetch what is missing, then assemble offline."""
