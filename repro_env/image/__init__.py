"""Wheels and Debian packages to layers, layers to images, images in an OCI layout."""
