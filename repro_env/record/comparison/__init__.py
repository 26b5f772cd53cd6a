"""Two outputs held against each other: equal, or what differs first and by how much."""
