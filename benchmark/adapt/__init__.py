"""Stage 2: adapt an encoder's BatchNorm to a task's images by predicting keypoints without labels."""
