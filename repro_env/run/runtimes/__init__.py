"""What runs an image on this machine: one file each, rendering pure, starting at the edge."""
