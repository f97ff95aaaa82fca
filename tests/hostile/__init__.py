"""Servers that lie, one kind after the other: what each does, and what a program must see of it."""
