"""What is known without asking: inodes, names, attributes, listings, for how long, and what is asked for in advance."""
