"""Statistics: scores, intervals, learning speed, background shift, Stage 2."""
