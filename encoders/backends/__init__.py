"""Libraries that compute an encoder's features in PyTorch's place."""
