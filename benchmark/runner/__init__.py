"""One run, from weights and demonstrations to a run folder; many runs; the paper's ablations."""
