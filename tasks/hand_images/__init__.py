"""Rendered images of the Adroit hand with its 3D pose, for Stage 1."""
