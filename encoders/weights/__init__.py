"""Weights: found in the cache, fetched, read without running anything, checked, or drawn at random."""
