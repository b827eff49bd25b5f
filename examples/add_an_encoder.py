"""A new encoder in one file: torchvision's MobileNet V3 Small.

``bench run --encoder examples/add_an_encoder.py:MobileNet --task door`` runs it with seeded random weights and calls it
``mobilenet_v3_small (random)``; ``--weights PATH`` gives it a state dict that torchvision published.
"""

import torch
from torchvision.models import mobilenet_v3_small

from encoders import Encoder


class MobileNet(Encoder, name="mobilenet_v3_small"):
    """The feature is the pooled last map."""

    feature_dim = 576

    def __init__(self, weights=None):
        super().__init__()
        self.random_weights = weights is None
        network = mobilenet_v3_small()  # `encoders.build` seeds what this draws
        if weights is not None:
            network.load_state_dict(torch.load(weights, weights_only=True))
        self.features, self.pool = network.features, network.avgpool

    def forward(self, images):
        mean = images.new_tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1)
        std = images.new_tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1)
        return self.pool(self.features((images - mean) / std)).flatten(1)
