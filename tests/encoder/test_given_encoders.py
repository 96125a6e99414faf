"""Encoders that a user holds: what they state of images, functions, and files that other programs wrote."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn
from torchvision import models

import equissl
from equissl.data.image_folder import write_images
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.encoder.functions import FunctionBackbone
from equissl.encoder.published import IMAGENET
from equissl.encoder.stated import StatedInputs, stated_inputs
from equissl.encoder.untrained import untrained_reason
from equissl.errors import NonFiniteError, UserError
from equissl.recipes import quickstart
from equissl.runs.given import load_given
from equissl.runs.load import load_encoder

IMAGES = torch.rand(45, 3, 16, 16, generator=torch.Generator().manual_seed(0))
HALF = ((0.5,) * 3, (0.5,) * 3)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(48, 8)).eval()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (timm.create_model("test_resnet"), StatedInputs(*HALF, 160)),
        (timm.create_model("test_vit", img_size=48), StatedInputs(*HALF, 48)),
        (models.resnet18(), StatedInputs(*IMAGENET, 0)),
        (models.ResNet18_Weights.DEFAULT.transforms(), StatedInputs(*IMAGENET, 224)),
        (
            SimpleNamespace(
                image_mean=[0.5] * 3, image_std=[0.5] * 3, size={"shortest_edge": 256}, crop_size=None
            ),
            StatedInputs(*HALF, 256),
        ),
        (
            SimpleNamespace(
                image_mean=[0.4] * 3,
                image_std=[0.5] * 3,
                do_normalize=False,
                size={"height": 32, "width": 32},
            ),
            StatedInputs((0.0,) * 3, (1.0,) * 3, 32),
        ),
        (SimpleNamespace(config=SimpleNamespace(image_size=30)), StatedInputs((), (), 30)),
        (network(), StatedInputs()),
    ],
)
def test_what_a_model_or_its_preprocessing_states(source: object, expected: StatedInputs) -> None:
    assert stated_inputs(source) == expected


def test_normalisation_is_asked_for_stated_or_none() -> None:
    plain = load_given(network(), shape=(3, 16, 16))
    assert plain.config.mean == (0.0,) * 3 and plain.config.std == (1.0,) * 3 and plain.config.size == 16
    asked = load_given(network(), shape=(3, 16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
    vector = network()((IMAGES - 0.5) / 0.25)
    torch.testing.assert_close(asked.encoder(IMAGES).vector, vector)
    stated = load_given(network(), preprocess=models.ResNet18_Weights.DEFAULT.transforms())
    assert (stated.config.mean, stated.config.std, stated.config.size) == (*IMAGENET, 224)
    assert load_given(timm.create_model("test_resnet"), size=32).config.std == HALF[1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": (0.5,) * 3}, "std is missing: give both"),
        ({"mean": (123, 117, 104), "std": (58, 57, 57)}, r"in \[0, 1\]; divide those of 0 to 255 by 255"),
        ({"mean": (0.5,), "std": (0.5,)}, "cannot read 1 x 16 x 16 images"),
        ({"preprocess": "imagenet"}, "preprocess=str states no mean"),
    ],
)
def test_mistakes_in_the_normalisation(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        load_given(network(), shape=(3, 16, 16), **options)


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(UserError, match="expected a module, a function of images or a name, got a class"):
        load_given(nn.Flatten)
    with pytest.raises(UserError, match="got a int"):
        load_given(3)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="an encoder has its own"):
        load_given(Encoder(network(), probe=(3, 16, 16)), mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(UserError, match="size=32: the images are of 16 x 16 px and stay as they are"):
        equissl.audit(network(), IMAGES, size=32)


def test_functions_return_arrays_of_any_form() -> None:
    own = network()

    def with_numpy(images: Tensor) -> dict[str, np.ndarray[Any, Any]]:
        return {"pooler_output": own(images).detach().numpy()}

    loaded = load_given(with_numpy, shape=(3, 16, 16))
    assert loaded.name == "with_numpy"
    torch.testing.assert_close(loaded.encoder(IMAGES).vector, own(IMAGES).detach())
    assert "no weights" in untrained_reason(loaded.encoder)
    scores = equissl.audit(with_numpy, IMAGES, factors=("brightness",), draws=1)
    assert not [s for s in scores if s.baseline == "random"]
    inputs = next(s for s in scores if not s.baseline).extra["inputs"]
    assert inputs == {
        "weights": "as given",
        "mean": [0.0] * 3,
        "std": [1.0] * 3,
        "size": 16,
        "fit": "crop",
    }


def test_a_fixed_batch_is_filled_up() -> None:
    sizes: list[int] = []

    def fixed(images: Tensor) -> list[Tensor]:
        sizes.append(len(images))
        return [images.mean((2, 3))]

    out = FunctionBackbone(fixed, batch=4)(IMAGES[:10])
    torch.testing.assert_close(out[0], IMAGES[:10].mean((2, 3)))
    assert sizes == [4, 4, 4]


def write_onnx(path: Path, shape: list[int | str], inputs: int = 1) -> None:
    """The mean over places, as an ONNX file."""
    from onnx import TensorProto, helper, save

    names = [f"images{k}" for k in range(inputs)]
    nodes = [
        helper.make_node("GlobalAveragePool", names[:1], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
    ]
    made = [helper.make_tensor_value_info(n, TensorProto.FLOAT, shape) for n in names]
    out = [helper.make_tensor_value_info("features", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "mean", made, out)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


@pytest.mark.parametrize("shape", [["b", 3, "h", "w"], [4, 3, 16, 16]])
def test_an_onnx_file_is_an_encoder(tmp_path: Path, shape: list[int | str]) -> None:
    write_onnx(tmp_path / "model.onnx", shape)
    loaded = load_encoder(str(tmp_path / "model.onnx"), size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    torch.testing.assert_close(loaded.encoder(IMAGES).vector, (IMAGES.mean((2, 3)) - 0.5) / 0.5)
    assert loaded.config.size == 16 and untrained_reason(loaded.encoder)


def test_onnx_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        load_encoder(str(tmp_path / "other.onnx"))
    (tmp_path / "text.onnx").write_text("no protobuf")
    with pytest.raises(UserError, match=r"text\.onnx: onnxruntime cannot read it"):
        load_encoder(str(tmp_path / "text.onnx"))
    write_onnx(tmp_path / "two.onnx", ["b", 3, 8, 8], inputs=2)
    with pytest.raises(UserError, match=r"expected one input of images.*images1: tensor\(float\)"):
        load_encoder(str(tmp_path / "two.onnx"))


def test_a_program_of_torch_export_needs_trust(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(network(), (IMAGES[:4],)), path)
    with pytest.raises(UserError, match=r"unpickles .* refused; if you trust the file: trust=equissl"):
        load_encoder(str(path))
    loaded = load_encoder(str(path), trusted=("equissl",))
    assert loaded.config.size == 16
    torch.testing.assert_close(loaded.encoder(IMAGES).vector, network()(IMAGES))
    with pytest.raises(UserError, match=r"takes images of 16 x 16 px only, not squares of 32"):
        load_encoder(str(path), size=32, trusted=("equissl",))
    (tmp_path / "text.pt2").write_text("no archive")
    with pytest.raises(UserError, match=r"text\.pt2 is not a program"):
        load_encoder(str(tmp_path / "text.pt2"), trusted=("equissl",))


def test_embed_takes_a_module_as_well(tmp_path: Path) -> None:
    write_images(tmp_path, {"a": 3}, side=16)
    table = equissl.embed(network(), tmp_path, size=16, mean=(0.5,) * 3, std=(0.25,) * 3)
    assert table.features.shape == (3, 8)
    assert (table.model["mean"], table.model["std"], table.model["size"]) == ([0.5] * 3, [0.25] * 3, 16)


def test_the_layer_where_numbers_stop_being_finite_is_named() -> None:
    broken = network()
    with torch.no_grad():
        broken[2].weight[0] = torch.nan  # type: ignore[union-attr, index]

    class Root(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return (images - 0.5).sqrt()

    with pytest.raises(
        NonFiniteError, match=r"first is number 0\); parameter 2\.weight is the first that is not"
    ):
        equissl.audit(broken, IMAGES, factors=("brightness",), minutes=0, untrained=0)
    rooted = nn.Sequential(nn.Identity(), Root(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
    with pytest.raises(NonFiniteError, match=r"output of 1 \(Root\) is the first that is not"):
        equissl.audit(rooted, IMAGES, factors=("brightness",), minutes=0)


def test_a_dead_network_is_said() -> None:
    dead = nn.Sequential(network(), nn.Threshold(1e9, 0.0))
    with pytest.raises(
        UserError, match="Sequential gives the same features for all 45 images: the network is dead"
    ):
        equissl.audit(dead, IMAGES, factors=("brightness",), minutes=0, untrained=0)


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ({}, "16 px, in [0, 1], not normalised: pass mean= and std= if the network was trained with them"),
        ({"mean": HALF[0], "std": HALF[1]}, "16 px, mean (0.5, 0.5, 0.5), std (0.5, 0.5, 0.5)"),
    ],
)
def test_how_images_are_made_is_said_in_words(how: dict[str, Any], expected: str) -> None:
    said: list[str] = []
    quick: dict[str, Any] = {"factors": ("brightness",), "untrained": 0, "draws": 1, "minutes": 0.0}
    equissl.audit(network(), IMAGES, say=said.append, **quick, **how)
    assert said[0] == f"images for Sequential: {expected}" and said[1].startswith("audit: ")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet1", "encoder.name: timm has no model 'resnet1'; did you mean 'resnet18'"),
        ("timm:resnet1", "encoder.name"),
    ],
)
def test_an_encoder_that_does_not_exist_is_said_before_images_are_read(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("images were read")

    monkeypatch.setattr(Solids, "open", never)
    recipe = replace(quickstart.invariant(), encoder=EncoderConfig(name=name))
    with pytest.raises(UserError, match=message):
        equissl.pretrain(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
