"""Weights in the layouts that people have, loaded whole or refused in words."""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.encoder.weight_files import read_tensors
from equissl.errors import UserError

State = dict[str, Tensor]
SMALL = EncoderConfig(name="test_resnet", size=32)


def model(name: str = "test_resnet", **options: Any) -> nn.Module:
    torch.manual_seed(1)
    made: nn.Module = timm.create_model(name, **options)
    return made


def under(prefix: str, state: State) -> State:
    return {prefix + key: tensor for key, tensor in state.items()}


def other(state: State) -> State:
    """A copy of an encoder with other weights, as momentum encoders have."""
    return {key: tensor + 1 for key, tensor in state.items()}


LAYOUTS: dict[str, tuple[str, Callable[[State], Any]]] = {
    "plain": ("", lambda s: s),
    "DistributedDataParallel": ("module.", lambda s: under("module.", s)),
    "MoCo v2": (
        "state_dict.module.encoder_q.",
        lambda s: {"state_dict": {**under("module.encoder_k.", other(s)), **under("module.encoder_q.", s)}},
    ),
    "MoCo v3": (
        "state_dict.module.base_encoder.",
        lambda s: {
            "epoch": 3,
            "state_dict": {
                **under("module.momentum_encoder.", other(s)),
                **under("module.base_encoder.", s),
            },
        },
    ),
    "BYOL": (
        "online_encoder.net.",
        lambda s: {**under("target_encoder.net.", other(s)), **under("online_encoder.net.", s)},
    ),
    "DINO": (
        "teacher.backbone.",
        lambda s: {
            "student": under("module.backbone.", other(s)),
            "teacher": under("backbone.", s),
            "args": argparse.Namespace(lr=0.1),
        },
    ),
    "VICReg": ("model.module.backbone.", lambda s: {"model": under("module.backbone.", s), "epoch": 1}),
    "Lightning": ("state_dict.model.", lambda s: {"state_dict": under("model.", s), "hyper_parameters": {}}),
    "torch.compile": ("module.", lambda s: under("_orig_mod.module.", s)),
    "within a sequence": ("module.pre.", lambda s: under("module.pre.", s)),
    "nested": ("model.state_dict.", lambda s: {"model": {"state_dict": s}, "optimizer": {"state": {}}}),
    "VISSL": (
        "classy_state_dict.base_model.model.trunk._feature_blocks.",
        lambda s: {"classy_state_dict": {"base_model": {"model": {"trunk": under("_feature_blocks.", s)}}}},
    ),
}


def load(config: EncoderConfig, path: Path) -> Encoder:
    return replace(config, weights=str(path)).build()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_load_and_say_their_prefix(tmp_path: Path, layout: str) -> None:
    prefix, arrange = LAYOUTS[layout]
    state = model().state_dict()
    torch.save(arrange(state), tmp_path / "w.pth")
    encoder = load(SMALL, tmp_path / "w.pth")
    for key, tensor in encoder.backbone.state_dict().items():
        assert torch.equal(tensor, state[key])
    report = encoder.loaded_weights
    assert report is not None and report.prefix == prefix and report.loaded == report.wanted
    assert report.ignored == ("classifier fc.*",)
    said = f'prefix "{prefix}", ' if prefix else ""
    assert f"{report.wanted} of {report.wanted} tensors from {tmp_path / 'w.pth'} ({said}" in str(report)
    assert report.words.startswith(f"{report.loaded} of {report.wanted} tensors from w.pth (")
    assert "classifier fc.* ignored)" in str(report)


def test_children_by_number_and_a_projector(tmp_path: Path) -> None:
    whole = model()
    trunk = nn.Sequential(*list(whole.children())[:-1]).state_dict()
    torch.save({**under("backbone.", trunk), "projection_head.0.weight": torch.ones(2, 2)}, tmp_path / "w.pt")
    encoder = load(SMALL, tmp_path / "w.pt")
    torch.testing.assert_close(encoder.backbone.conv1[0].weight, whole.conv1[0].weight)
    assert "children by number" in str(encoder.loaded_weights)


def test_names_of_efficientnet_pytorch(tmp_path: Path) -> None:
    name = "efficientnet_b0"
    whole = model(name)
    ours = whole.state_dict()
    table = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn0.running_mean": "bn1.running_mean",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.0._bn2.weight": "blocks.0.0.bn2.weight",
        "_blocks.1._expand_conv.weight": "blocks.1.0.conv_pw.weight",
        "_blocks.1._se_reduce.bias": "blocks.1.0.se.conv_reduce.bias",
        "_blocks.2._bn1.weight": "blocks.1.1.bn2.weight",
        "_blocks.15._project_conv.weight": "blocks.6.0.conv_pwl.weight",
        "_conv_head.weight": "conv_head.weight",
        "_bn1.bias": "bn2.bias",
    }
    from equissl.encoder.weight_layouts import efficientnet_pytorch

    theirs = efficientnet_pytorch(whole, list(ours))
    assert {foreign: own for own, foreign in theirs.items() if foreign in table} == table
    state = {theirs[k]: t for k, t in ours.items() if k in theirs}
    torch.save(
        {**state, "_fc.weight": torch.ones(1000, 1280), "_fc.bias": torch.ones(1000)}, tmp_path / "w.pth"
    )
    encoder = load(EncoderConfig(name=name, size=32), tmp_path / "w.pth")
    assert torch.equal(encoder.backbone.blocks[6][0].conv_pwl.weight, whole.blocks[6][0].conv_pwl.weight)
    assert "names of EfficientNet-PyTorch, _fc.* ignored" in str(encoder.loaded_weights)


def test_a_vision_transformer_of_torchvision_gives_the_same_features(tmp_path: Path) -> None:
    from torchvision.models import VisionTransformer

    torch.manual_seed(0)
    theirs = VisionTransformer(32, 16, 12, 3, 192, 768).eval()
    torch.save(theirs.state_dict(), tmp_path / "w.pth")
    encoder = load(
        EncoderConfig(name="vit_tiny_patch16_224", size=32, mean=(0, 0, 0), std=(1, 1, 1)), tmp_path / "w.pth"
    )
    images = torch.rand(2, 3, 32, 32)
    theirs.heads = nn.Identity()  # type: ignore[assignment]
    with torch.inference_mode():
        torch.testing.assert_close(encoder.eval()(images).vector, theirs(images), rtol=1e-4, atol=1e-5)


def test_position_embeddings_and_input_channels_are_resampled(tmp_path: Path) -> None:
    torch.save(model("test_vit", img_size=64).state_dict(), tmp_path / "w.pth")
    encoder = load(EncoderConfig(name="test_vit", size=32), tmp_path / "w.pth")
    assert "pos_embed resampled" in str(encoder.loaded_weights)
    torch.save(model().state_dict(), tmp_path / "rgb.pth")
    grey = load(replace(SMALL, mean=(0.5,), std=(0.25,)), tmp_path / "rgb.pth")
    assert "conv1.0.weight resampled" in str(grey.loaded_weights)


def test_originals_that_timm_converts(tmp_path: Path) -> None:
    """ConvNeXt's own names: ``downsample_layers``, ``stages.0.0.pwconv1``."""
    whole = model("convnext_atto", conv_mlp=False)
    names = {"stem.0": "downsample_layers.0.0", "stem.1": "downsample_layers.0.1", "head.norm": "norm"}
    names |= {f"stages.{k}.downsample": f"downsample_layers.{k}" for k in (1, 2, 3)}
    inner = {"conv_dw": "dwconv", "mlp.fc1": "pwconv1", "mlp.fc2": "pwconv2", ".blocks.": "."}
    state = {}
    for key, tensor in whole.state_dict().items():
        for own, foreign in {**names, **inner, "head.fc": "head"}.items():
            key = key.replace(own, foreign)
        state[key] = tensor
    torch.save({"model": state}, tmp_path / "w.pth")
    encoder = load(EncoderConfig(name="convnext_atto", size=32), tmp_path / "w.pth")
    ours = encoder.backbone.state_dict()
    assert all(
        torch.equal(ours[k].flatten(), t.flatten()) for k, t in whole.state_dict().items() if k in ours
    )
    assert "timm converts" in str(encoder.loaded_weights)


def test_a_misfit_names_keys_shapes_and_the_nearest_prefix(tmp_path: Path) -> None:
    state = model().state_dict()
    broken = {k: v for k, v in under("module.", state).items() if "layer4" not in k}
    broken["module.conv1.0.weight"] = torch.ones(3, 3, 5, 5)
    torch.save(broken, tmp_path / "w.pth")
    with pytest.raises(UserError) as caught:
        load(SMALL, tmp_path / "w.pth")
    said = str(caught.value)
    assert "does not fit test_resnet" in said and "'layer4.0.conv1.weight'" in said
    assert "(3, 3, 5, 5) in the file" in said and 'nearest prefix: "module."' in said
    assert "the file holds" in said and "wanted: conv1.0.weight" in said


def test_a_larger_architecture_is_refused(tmp_path: Path) -> None:
    torch.save(model("resnet34").state_dict(), tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"larger architecture than resnet18.*layer1\.\*"):
        load(EncoderConfig(name="resnet18", size=32), tmp_path / "w.pth")


class Harmful:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("harmed"),))


@pytest.mark.parametrize("kind", ["module", "harmful", "plain pickle", "noise", "tensor", "empty", "npz"])
def test_other_files_are_refused_and_never_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "w.pth"
    match kind:
        case "module":
            torch.save({"model": model()}, path)
        case "harmful":
            torch.save({"state_dict": model().state_dict(), "extra": Harmful()}, path)
        case "plain pickle":
            path.write_bytes(pickle.dumps({"a": Harmful()}))
        case "noise":
            path.write_bytes(bytes(range(256)) * 9)
        case "tensor":
            torch.save(torch.ones(3), path)
        case "empty":
            path.write_bytes(b"")
        case _:
            path.with_suffix(".safetensors").write_bytes(b"PK\3\4" * 40)
            path = path.with_suffix(".safetensors")
    with pytest.raises(UserError) as caught:
        read_tensors(path)
    said = str(caught.value)
    assert path.name in said and len(said) < 420 and "weights_only" not in said
    assert not (tmp_path / "harmed").exists()


def test_numbers_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    state = model().state_dict()
    state["conv1.0.weight"] = state["conv1.0.weight"] * torch.nan
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match=r"not finite, first in 'conv1\.0\.weight'"):
        load(SMALL, tmp_path / "w.safetensors")


def test_a_head_of_another_width_stays_random_and_is_named(tmp_path: Path) -> None:
    torch.save(model().state_dict(), tmp_path / "w.pth")
    encoder = load(replace(SMALL, width=7), tmp_path / "w.pth")
    assert encoder.width() == 7 and "the classifier's fc.weight, fc.bias left random" in str(
        encoder.loaded_weights
    )
