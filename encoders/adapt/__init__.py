"""Stage 2: an encoder's BatchNorm adapts to a task by predicting keypoints without labels. Arrays in, tensors out."""
