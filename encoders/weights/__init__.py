"""Weights files: cached, downloaded, read safely, checked; and random weights."""
