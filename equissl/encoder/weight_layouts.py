"""Names of the same weights in other code bases, as functions from a backbone's names to theirs."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from torch import nn

Layout = Callable[[nn.Module, Sequence[str]], Mapping[str, str]]

_TORCHVISION_VIT = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^blocks\.(\d+)\.norm([12])\.", r"encoder.layers.encoder_layer_\1.ln_\2."),
    (
        r"^blocks\.(\d+)\.attn\.qkv\.(weight|bias)$",
        r"encoder.layers.encoder_layer_\1.self_attention.in_proj_\2",
    ),
    (r"^blocks\.(\d+)\.attn\.proj\.", r"encoder.layers.encoder_layer_\1.self_attention.out_proj."),
    (r"^blocks\.(\d+)\.mlp\.fc1\.", r"encoder.layers.encoder_layer_\1.mlp.linear_1."),
    (r"^blocks\.(\d+)\.mlp\.fc2\.", r"encoder.layers.encoder_layer_\1.mlp.linear_2."),
    (r"^norm\.", "encoder.ln."),
)
_TORCHVISION_MLP = {
    ".linear_1.": ".0.",
    ".linear_2.": ".3.",
}  # a module's own names; its files have the first
_EFFICIENTNET_ENDS = (
    (r"^conv_stem\.", "_conv_stem."),
    (r"^bn1\.", "_bn0."),
    (r"^conv_head\.", "_conv_head."),
    (r"^bn2\.", "_bn1."),
)
_SQUEEZE = {"se.conv_reduce": "_se_reduce", "se.conv_expand": "_se_expand"}
_EXPANDED = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
_EXPANDED |= {"conv_pwl": "_project_conv", "bn3": "_bn2", **_SQUEEZE}
_UNEXPANDED = {
    "conv_dw": "_depthwise_conv",
    "bn1": "_bn1",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
    **_SQUEEZE,
}


def own_names(backbone: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """The backbone's own names."""
    return {n: n for n in names}


def sequential(backbone: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """``nn.Sequential(*backbone.children())``: numbers in place of the names at the top."""
    numbers = {name: str(k) for k, (name, _) in enumerate(backbone.named_children())}
    heads = {n: n.partition(".") for n in names}
    return {n: numbers[a] + dot + rest for n, (a, dot, rest) in heads.items() if a in numbers}


def torchvision_vit(backbone: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """timm's vision transformers in torchvision's names."""
    return _substitute(names, _TORCHVISION_VIT)


def torchvision_vit_module(backbone: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """timm's vision transformers in the names that a module of torchvision has in memory."""
    renamed = torchvision_vit(backbone, names)
    for published, own in _TORCHVISION_MLP.items():
        renamed = {n: theirs.replace(f".mlp{published}", f".mlp{own}") for n, theirs in renamed.items()}
    return renamed


def efficientnet_pytorch(backbone: nn.Module, names: Sequence[str]) -> dict[str, str]:
    """timm's EfficientNets in the names of the package EfficientNet-PyTorch, whose blocks have one number."""
    renamed = _substitute(names, _EFFICIENTNET_ENDS)
    blocks: dict[str, dict[str, str]] = {}  # in order: "blocks.1.0." -> its names -> without that prefix
    for name in names:
        if match := re.match(r"blocks\.\d+\.\d+\.", name):
            blocks.setdefault(match.group(), {})[name] = name[match.end() :]
    for number, inside in enumerate(blocks.values()):
        table = _EXPANDED if any(n.startswith("conv_pwl.") for n in inside.values()) else _UNEXPANDED
        for name, rest in inside.items():
            part, _, kind = rest.rpartition(".")
            if part in table:
                renamed[name] = f"_blocks.{number}.{table[part]}.{kind}"
    return renamed


LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "": own_names,
        "the backbone's children by number": sequential,
        "torchvision's ViT": torchvision_vit,
        "torchvision's VisionTransformer": torchvision_vit_module,
        "EfficientNet-PyTorch": efficientnet_pytorch,
    }
)


def _substitute(names: Sequence[str], patterns: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The names that match a pattern, with what the first such pattern makes of them."""
    renamed = {}
    for name in names:
        for pattern, replacement in patterns:
            changed, count = re.subn(pattern, replacement, name)
            if count:
                renamed[name] = changed
                break
    return renamed
