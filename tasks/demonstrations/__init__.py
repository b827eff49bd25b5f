"""Demonstrations as arrays, and the readers of files that others recorded."""
