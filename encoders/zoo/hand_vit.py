"""Today's hand networks, HaMeR and WiLoR: ViTPose's ViT-H, which looks at a hand and gives 192 tokens.

Source: HaMeR (arXiv 2312.05251), WiLoR (arXiv 2409.12259); encoders.md, section 7.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..weights.checkpoint import Layout
from .network import TrunkEncoder

_HEIGHT, _WIDTH = 256, 192
_PATCH, _PADDING = 16, 2
_JOINTS, _ROTATION, _SHAPE, _CAMERA = 16, 6, 10, 3
_POSITIONS = (_HEIGHT // _PATCH) * (_WIDTH // _PATCH)


class HandViT(nn.Module):
    """ViTPose's vision transformer.

    Args:
        width: of a token.
        depth: number of blocks.
        heads: of each block's attention.
        queries: whether 18 tokens for pose, shape and camera attend along, as in WiLoR.
    """

    init_hand_pose: Tensor
    init_betas: Tensor
    init_cam: Tensor

    def __init__(self, width: int, depth: int, heads: int, *, queries: bool) -> None:
        super().__init__()
        patches = nn.Conv2d(3, width, _PATCH, stride=_PATCH, padding=_PADDING)
        self.patch_embed = nn.ModuleDict({"proj": patches})
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + _POSITIONS, width))
        self.blocks = nn.Sequential(*(_Block(width, heads) for _ in range(depth)))
        self.last_norm = nn.LayerNorm(width, eps=1e-6)
        self.queries = queries
        if queries:
            self.pose_emb = nn.Linear(_ROTATION, width)
            self.shape_emb = nn.Linear(_SHAPE, width)
            self.cam_emb = nn.Linear(_CAMERA, width)
            self.register_buffer("init_hand_pose", torch.zeros(1, _JOINTS * _ROTATION))
            self.register_buffer("init_betas", torch.zeros(1, _SHAPE))
            self.register_buffer("init_cam", torch.zeros(1, _CAMERA))

    def forward(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 256, 192)``, normalised, to the mean of the 192 image tokens, ``(N, width)``."""
        return self.image_tokens(images).mean(1)

    def image_tokens(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 256, 192)``, normalised, to the 192 image tokens, 16 rows of 12, ``(N, 192, width)``."""
        tokens: Tensor = self.patch_embed["proj"](images).flatten(2).transpose(1, 2)
        tokens = tokens + self.pos_embed[:, 1:] + self.pos_embed[:, :1]
        if self.queries:
            pose = self.pose_emb(self.init_hand_pose.reshape(1, _JOINTS, _ROTATION))
            others = [self.shape_emb(self.init_betas)[:, None], self.cam_emb(self.init_cam)[:, None]]
            first = torch.cat([pose, *others], 1).expand(len(tokens), -1, -1)
            tokens = torch.cat([first, tokens], 1)
        tokens = self.last_norm(self.blocks(tokens))
        return tokens[:, -_POSITIONS:]


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return projected


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width, heads)
        layers = {"fc1": nn.Linear(width, 4 * width), "act": nn.GELU(), "fc2": nn.Linear(4 * width, width)}
        self.mlp = nn.Sequential(OrderedDict(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens))
        changed: Tensor = tokens + self.mlp(self.norm2(tokens))
        return changed


class HaMeR(TrunkEncoder, name="hamer"):
    """HaMeR's backbone: the mean of the tokens of the image's middle, 192 of 256 columns."""

    feature_dim = 1280
    feature_is_mean = True
    depth: ClassVar[int] = 32
    heads: ClassVar[int] = 16
    queries: ClassVar[bool] = False
    layouts: ClassVar[tuple[Layout, ...]] = (Layout("HaMeR", "backbone.", container="state_dict", rest=True),)
    network = "the ViT of a hand network"

    @classmethod
    def empty_trunk(cls) -> nn.Module:
        """Make the network; its numbers have no meaning."""
        return HandViT(cls.feature_dim, cls.depth, cls.heads, queries=cls.queries)

    def prepared(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to the normalised middle columns, ``(N, 3, 256, 192)``."""
        images = F.interpolate(self.normalise(images), size=(_HEIGHT, _HEIGHT), mode="bilinear", align_corners=False)
        margin = (_HEIGHT - _WIDTH) // 2
        return images[..., margin:-margin]

    def tokens(self, images: Tensor) -> Tensor:
        """Map ``(N, 3, 224, 224) float32 in [0, 1]`` to the 192 image tokens, ``(N, 192, 1280)``."""
        trunk: Any = self.trunk
        tokens: Tensor = trunk.image_tokens(self.prepared(images))
        return tokens


class WiLoR(HaMeR, name="wilor"):
    """WiLoR's backbone: tokens for the hand's pose, shape and camera attend along."""

    queries = True
    layouts = (
        Layout(
            "WiLoR",
            "backbone.",
            unused=("decpose.", "decshape.", "deccam."),
            container="state_dict",
            rest=True,
        ),
    )
