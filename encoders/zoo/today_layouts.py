"""Official checkpoints of DINOv3, SigLIP 2 and CLIP under their authors' names, brought to timm's.

Source: the names are those of facebookresearch/dinov3 (models/vision_transformer.py, models/convnext.py, layers), of
transformers' SiglipVisionModel and CLIPVisionModel, and of openai/CLIP (clip/model.py), which open_clip shares.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..weights.checkpoint import Layout

_ROTARY_BASE = 100.0
_PERIOD_TOLERANCE = 0.01  # they may be stored in bfloat16


def join_attention(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the separate queries, keys and values of transformers' layers as timm keeps them."""
    joined = dict(state)
    for name in expected:
        parts = [name.replace(".qkv.", f".{one}.") for one in ("query", "key", "value")]
        if ".qkv." in name and all(part in state for part in parts):
            joined[name] = torch.cat([joined.pop(part) for part in parts])
    return joined


def _with_batch_axes(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give class token and positions the leading axes of size 1 that timm's have."""
    shaped = dict(state)
    for name in ("cls_token", "pos_embed"):
        have, want = state.get(name), expected.get(name)
        if have is not None and want is not None and (1,) * (want.ndim - have.ndim) + have.shape == want.shape:
            shaped[name] = have.reshape(want.shape)
    return shaped


def _from_transformers(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Join the attention of the blocks, and part that of the pooling, which timm keeps as query and key with value."""
    state = join_attention(_with_batch_axes(state, expected), expected)
    for part in ("weight", "bias"):
        together = state.get(f"attn_pool.in_proj_{part}")
        if together is not None and len(together) % 3 == 0:
            query, *others = together.chunk(3)
            state |= {f"attn_pool.q.{part}": query, f"attn_pool.kv.{part}": torch.cat(others)}
            del state[f"attn_pool.in_proj_{part}"]
    return state


def _without_what_is_fixed(state: dict[str, Tensor], expected: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out rotary periods, and the biases of query, key and value with their masks, where they change nothing.

    The biases of keys are masked out by the network itself; the others came out of training as zeros.
    """
    kept = dict(state)
    for name, tensor in state.items():
        if name.endswith("attn.qkv.bias") and name not in expected:
            query, _, value = tensor.chunk(3)
            if not bool(query.any() | value.any()):
                kept.pop(name)
                kept.pop(f"{name}_mask", None)
        elif name == "rope_embed.periods":
            usual = _ROTARY_BASE ** (torch.arange(len(tensor)) / len(tensor))
            if torch.allclose(tensor.float(), usual, rtol=_PERIOD_TOLERANCE):
                kept.pop(name)
    return kept


# Timm's own names pass through these unchanged.
DINOV3 = Layout(
    "DINOv3",
    unused=("mask_token",),
    renames=(
        (r"^storage_tokens$", "reg_token"),
        (r"\.ls([12])\.gamma$", r".gamma_\1"),
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ),
    convert=_without_what_is_fixed,
)
DINOV3_CONVNEXT = Layout(
    "DINOv3",
    unused=("norms.",),
    renames=(
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv(\d)\.", r".mlp.fc\1."),
        (r"^norm\.", "head.norm."),
    ),
)
_BLOCKS = (
    (r"^encoder\.layers\.(\d+)\.", r"blocks.\1."),
    (r"layer_norm([12])\.", r"norm\1."),
    (r"self_attn\.q_proj\.", "attn.query."),
    (r"self_attn\.k_proj\.", "attn.key."),
    (r"self_attn\.v_proj\.", "attn.value."),
    (r"self_attn\.out_proj\.", "attn.proj."),
    (r"^embeddings\.patch_embedding\.", "patch_embed.proj."),
    (r"^embeddings\.position_embedding\.weight$", "pos_embed"),
    (r"^post_layernorm\.", "norm."),
)
SIGLIP_TRANSFORMERS = Layout(
    "transformers' SigLIP",
    "vision_model.",
    unused=("embeddings.position_ids",),
    others=("text_model.", "logit_scale", "logit_bias"),
    renames=(
        *_BLOCKS,
        (r"^head\.probe$", "attn_pool.latent"),
        (r"^head\.attention\.in_proj_", "attn_pool.in_proj_"),
        (r"^head\.attention\.out_proj\.", "attn_pool.proj."),
        (r"^head\.layernorm\.", "attn_pool.norm."),
        (r"^head\.mlp\.", "attn_pool.mlp."),
    ),
    convert=_from_transformers,
)
CLIP_TRANSFORMERS = Layout(
    "transformers' CLIP",
    "vision_model.",
    unused=("embeddings.position_ids",),
    others=("text_model.", "visual_projection.", "text_projection.", "logit_scale"),
    renames=(
        *_BLOCKS,
        (r"^embeddings\.class_embedding$", "cls_token"),
        (r"^pre_layrnorm\.", "norm_pre."),  # so it is spelt there
    ),
    convert=_from_transformers,
)
CLIP_OPENAI = Layout(
    "OpenAI's CLIP",
    "visual.",
    unused=("proj",),
    others=(
        *("transformer.", "token_embedding.", "positional_embedding", "ln_final.", "text_projection", "logit_scale"),
        *("input_resolution", "context_length", "vocab_size"),
    ),
    renames=(
        (r"^class_embedding$", "cls_token"),
        (r"^positional_embedding$", "pos_embed"),
        (r"^conv1\.", "patch_embed.proj."),
        (r"^ln_pre\.", "norm_pre."),
        (r"^ln_post\.", "norm."),
        (r"^transformer\.resblocks\.", "blocks."),
        (r"\.attn\.in_proj_", ".attn.qkv."),
        (r"\.attn\.out_proj\.", ".attn.proj."),
        (r"\.ln_([12])\.", r".norm\1."),
        (r"\.mlp\.c_fc\.", ".mlp.fc1."),
        (r"\.mlp\.c_proj\.", ".mlp.fc2."),
    ),
    convert=_with_batch_axes,
)
