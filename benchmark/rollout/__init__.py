"""Episodes: simulate and render in worker processes, encode in batches, act."""
