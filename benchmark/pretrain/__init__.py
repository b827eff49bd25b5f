"""Stage 1: train a ResNet-50 on rendered hands."""
