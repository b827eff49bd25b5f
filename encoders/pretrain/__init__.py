"""Stage 1's training: arrays in, a trunk out."""
