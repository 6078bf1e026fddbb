"""What is a copy of what: hashes, neighbours, looks compared, and which copy is kept. Pure functions."""
