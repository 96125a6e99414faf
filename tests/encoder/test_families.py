"""Every family of timm gives features: the smallest model of each, at a small size that it takes."""

from __future__ import annotations

import contextlib

import pytest
import timm
import torch

from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.encoder.named import named_config
from equissl.errors import UserError

# The model of a family with the fewest parameters, where that is not the first of the list.
SMALLEST = {
    "beit": "beit_base_patch16_224",
    "byoanet": "halonet_h1",
    "byobnet": "test_byobnet",
    "cait": "cait_xxs24_224",
    "coat": "coat_tiny",
    "convit": "convit_tiny",
    "convmixer": "convmixer_768_32",
    "convnext": "test_convnext",
    "cpubone": "cpubone_nano",
    "crossvit": "crossvit_tiny_240",
    "csatv2": "csatv2",
    "cspnet": "cs3darknet_focus_s",
    "cspnext": "cspnext_tiny",
    "davit": "davit_tiny",
    "deepseek_vit": "deepseek_vit_412m",
    "deit": "deit_tiny_patch16_224",
    "densenet": "densenet121",
    "dla": "dla46x_c",
    "dpn": "dpn48b",
    "edgenext": "edgenext_xx_small",
    "efficientformer": "efficientformer_l1",
    "efficientformer_v2": "efficientformerv2_s0",
    "efficientnet": "test_efficientnet",
    "efficientvim": "efficientvim_m1",
    "efficientvit_mit": "efficientvit_b0",
    "efficientvit_msra": "efficientvit_m0",
    "eva": "vit_tiny_patch16_dinov3_qkvb",
    "fasternet": "fasternet_t0",
    "fastvit": "fastvit_t8",
    "focalnet": "focalnet_tiny_srf",
    "gcvit": "gcvit_xxtiny",
    "gemma4_vit": "gemma4_vit_167m",
    "ghostnet": "ghostnet_050",
    "hardcorenas": "hardcorenas_b",
    "hgnet": "hgnetv2_b0",
    "hiera": "hiera_tiny_224",
    "hieradet_sam2": "sam2_hiera_tiny",
    "hrnet": "hrnet_w18_small",
    "iformer": "iformer_t",
    "inception_next": "inception_next_atto",
    "inception_resnet_v2": "inception_resnet_v2",
    "inception_v3": "inception_v3",
    "inception_v4": "inception_v4",
    "lcnetv2": "lcnetv2_small",
    "levit": "levit_128s",
    "lowformer": "lowformer_b0",
    "mambaout": "test_mambaout",
    "maxxvit": "test_coatnet",
    "metaformer": "poolformerv2_s12",
    "mlp_mixer": "gmlp_ti16_224",
    "mobilenetv3": "lcnet_035",
    "mobilenetv5": "mobilenetv5_base",
    "mobilevit": "mobilevit_xxs",
    "mvitv2": "mvitv2_tiny",
    "naflexvit": "naflexvit_base_patch16_parfac_gap",
    "nasnet": "nasnetalarge",
    "nest": "nest_tiny",
    "nextvit": "nextvit_small",
    "nfnet": "test_nfnet",
    "pit": "pit_ti_224",
    "pnasnet": "pnasnet5large",
    "pvt_v2": "pvt_v2_b0",
    "qwen3_vit": "qwen3_vit_88m",
    "rdnet": "rdnet_tiny",
    "regnet": "regnetx_002",
    "repghost": "repghostnet_050",
    "repvit": "repvit_m1",
    "res2net": "res2next50",
    "resnest": "resnest14d",
    "resnet": "test_resnet",
    "resnetv2": "resnetv2_18",
    "rexnet": "rexnet_100",
    "selecsls": "selecsls42",
    "senet": "legacy_seresnet18",
    "sequencer": "sequencer2d_s",
    "shvit": "shvit_s1",
    "sknet": "skresnet18",
    "starnet": "starnet_s050",
    "swiftformer": "swiftformer_xs",
    "swin_transformer": "swin_tiny_patch4_window7_224",
    "swin_transformer_v2": "swinv2_tiny_window8_256",
    "swin_transformer_v2_cr": "swinv2_cr_tiny_224",
    "tiny_vit": "tiny_vit_5m_224",
    "tnt": "tnt_s_legacy_patch16_224",
    "tresnet": "tresnet_m",
    "twins": "twins_svt_small",
    "vgg": "vgg11",
    "visformer": "visformer_tiny",
    "vision_transformer": "test_vit",
    "vision_transformer_hybrid": "vit_tiny_r_s16_p8_224",
    "vision_transformer_relpos": "test_vit_relpos",
    "vision_transformer_sam": "samvit_base_patch16_224",
    "vitamin": "vitamin_small_224",
    "volo": "volo_d1_224",
    "vovnet": "ese_vovnet19b_slim_dw",
    "xception": "legacy_xception",
    "xception_aligned": "xception41p",
    "xcit": "xcit_nano_12_p8_224",
}
SIZES = (64, 96, 128)
SHALLOW = {"deepseek_vit_412m": {"depth": 1}}  # its weights alone take minutes to draw


def smallest(family: str) -> str:
    models: list[str] = timm.list_models(module=family)
    return SMALLEST.get(family, models[0])


def built(name: str) -> Encoder:
    """At the first size that the model takes, its own at last; other sizes are refused in words."""
    torch.manual_seed(0)
    options = SHALLOW.get(name, {})
    own = named_config(f"timm/{name}", "", 0, (), ())[0].size
    for size in SIZES:
        with contextlib.suppress(UserError):  # any other error is a fault
            return EncoderConfig(name=name, size=size, options=options).build()
    return EncoderConfig(name=name, size=own, options=options).build()


@pytest.mark.slow
@pytest.mark.parametrize("family", timm.list_modules())
def test_every_family_gives_features(family: str) -> None:
    encoder = built(smallest(family)).eval()
    with torch.inference_mode():
        encoded = encoder(torch.rand(2, 3, encoder.size, encoder.size))
    assert encoded.vector.shape == (2, encoder.width()) and encoded.vector.isfinite().all()
    if encoded.grid is not None:
        assert encoded.grid.dim() == 4 and encoded.grid.shape[0] == 2
        assert encoder.grid_shape == tuple(encoded.grid.shape[1:])


@pytest.mark.parametrize(
    "name", ["hiera_tiny_224", "mvitv2_tiny", "pit_ti_224", "coat_tiny", "efficientvit_m0"]
)
def test_families_without_a_usual_feature_map(name: str) -> None:
    assert built(name).width() > 0


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("test_vit", 33, "size=33: the backbone's patches have a side of 16 px.*choose size=32 or 48"),
        ("vit_small_patch14_dinov2", 64, "choose size=56 or 70"),
        ("xcit_nano_12_p16_224", 50, "size=50.*divide"),
        ("hiera_tiny_224", 50, "cannot read 3 x 50 x 50 images"),
    ],
)
def test_a_size_that_patches_do_not_divide(name: str, size: int, said: str) -> None:
    with pytest.raises(UserError, match=said):
        EncoderConfig(name=name, size=size).build()
