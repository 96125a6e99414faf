"""E-SSL on photonic crystals with the released code's settings (arXiv:2111.00899, section 5).

The paper's error rates are not quoted here: they could not be checked against its PDF. Make the data with
``equissl render photonics kind=blob count=22099 labelled=7099 out=blob.safetensors`` (or ``kind=gpm``).
"""

from __future__ import annotations

from dataclasses import replace

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.geometry.quarter_turn import QuarterTurn
from equissl.augment.orbits import FullOrbit
from equissl.augment.periodic import EitherFlip, HalfRoll, Roll
from equissl.equivariance._parameter_targets import FactorClassification
from equissl.equivariance.essl import ESSL
from equissl.invariance.simclr import SimCLR
from equissl.photonics.data import Crystals
from equissl.photonics.encoder import CrystalNet
from equissl.recipe import Recipe, Weighted
from equissl.training.optim import SGD, WarmupCosine
from equissl.views import ViewSpec


def blob_baseline() -> Recipe:
    """SimCLR on centred blobs: mirrored and rotated cells are positives."""
    return _simclr("blob", EitherFlip(), QuarterTurn())


def blob_invariant() -> Recipe:
    """SimCLR on centred blobs with the half-cell roll as a further invariance."""
    return _simclr("blob", EitherFlip(), QuarterTurn(), HalfRoll())


def blob_essl() -> Recipe:
    """E-SimCLR on centred blobs: predicts which of the four half-cell rolls was applied."""
    return _with_essl(blob_baseline(), HalfRoll(), 10.0)


def gpm_baseline() -> Recipe:
    """SimCLR on level sets with a mirror (pm): translated and mirrored cells are positives."""
    return _simclr("gpm", Roll(), EitherFlip())


def gpm_invariant() -> Recipe:
    """SimCLR on level sets with a mirror (pm) with the quarter turn as a further invariance."""
    return _simclr("gpm", Roll(), EitherFlip(), QuarterTurn())


def gpm_essl() -> Recipe:
    """E-SimCLR on level sets with a mirror (pm): predicts which of the four quarter turns was applied."""
    return _with_essl(gpm_baseline(), QuarterTurn(), 5.0)


def _simclr(kind: str, *invariances: Augmentation) -> Recipe:
    view = ViewSpec(Pipeline(invariances))
    return Recipe(
        data=Crystals(path=f"{kind}.safetensors", test_size=2000),
        views={"a": view, "b": view},
        encoder=CrystalNet.Config(),
        base=SimCLR.Config(projector=(512, 512, 256), output_norm="none", temperature=0.1),
        optimizer=SGD(lr=1e-3, weight_decay=0.0),
        schedule=WarmupCosine(warmup_epochs=0, min_lr=0.0),
        epochs=200,
        batch_size=256,
        batch_norm="per_view",
        monitor_every=20,
        about="E-SSL's SimCLR on photonic crystals, arXiv:2111.00899",
    )


def _with_essl(recipe: Recipe, transformation: Augmentation, weight: float) -> Recipe:
    """Adds a third view: the original cell under every element of the transformation.

    The paper's weight is 5, of one cross entropy over four elements. Two half rolls are two factors of
    two elements each, and ``FactorClassification`` takes their mean, so its weight is twice that.
    """
    target = FactorClassification(factors=transformation.space.names)
    module = ESSL.Config(view="turned", targets={"element": target}, hidden=(512, 512))
    return replace(
        recipe,
        views={**recipe.views, "turned": ViewSpec(orbit=FullOrbit(transformation))},
        modules={"essl": Weighted(weight=weight, module=module)},
        about="E-SSL's E-SimCLR on photonic crystals, arXiv:2111.00899",
    )
