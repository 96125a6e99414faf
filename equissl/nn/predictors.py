"""Predictors of a changed image's embedding, from the source embedding and the encoded change.

All read (source (B, d), change (B, k)) and return (B, d); ``build`` of a config makes the network.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.config.validation import MAX_WIDTH, Checked, check_bounds, check_widths
from equissl.nn.heads import MLP, OutputNorm


@dataclass(frozen=True, kw_only=True)
class Hypernetwork(Checked):
    """Hypernetwork that generates the predictor's weights from the change (SIE, arXiv:2302.10283, section 4).

    By default one matrix, linear in the change and without any bias: M(z) = sum_k z_k W_k. It cannot be
    constant in z, so the predictor cannot learn to ignore the change.

    Args:
        hidden: widths of the hypernetwork's hidden layers, with ReLU; none is linear.
        bias: whether the hypernetwork's layers have one. Lets M be constant in z, so invariance is possible
            again, but is needed where "no change" is encoded as zeros only (crops, jitter).
        layers: widths of the generated predictor's hidden layers; none is one matrix.
        activation: ReLU between generated layers.
        generated_bias: whether biases are generated, too.
        init: "identity": no change starts as the identity, and other changes near it. "original":
            torch's default for a linear layer with k inputs, by which predictions start 9 times too long.
    """

    hidden: tuple[int, ...] = ()
    bias: bool = False
    layers: tuple[int, ...] = ()
    activation: bool = True
    generated_bias: bool = False
    init: Literal["identity", "original"] = "identity"

    def __post_init__(self) -> None:
        check_widths(self, "hidden", "layers", least=0)

    def build(self, width: int, neutral: Tensor) -> nn.Module:
        """A predictor of embeddings of ``width`` columns; ``neutral`` (k,) encodes "no change".

        Raises:
            ValueError: the prediction for no change could only be 0.
        """
        return HypernetworkPredictor(self, width, neutral)


@dataclass(frozen=True, kw_only=True)
class ConcatenatedMLP(Checked):
    """MLP on [change, source], the ablation of SIE; a single linear layer by default.

    Args:
        hidden: widths of the hidden layers, with ReLU.
    """

    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        check_widths(self, "hidden", least=0)

    def build(self, width: int, neutral: Tensor) -> nn.Module:
        """As ``Hypernetwork.build``."""
        return ConcatenatedPredictor(self, width, len(neutral))


@dataclass(frozen=True, kw_only=True)
class Affine(Checked):
    """One linear layer and BatchNorm on [source, embedded change] (EquiMod, arXiv:2211.01244, section 3).

    The change shifts the prediction by an amount that does not depend on the image.

    Args:
        parameter_width: width of the linear embedding of the change, with BatchNorm; 0 for none.
    """

    parameter_width: int = 128

    def __post_init__(self) -> None:
        check_bounds(self, "parameter_width", low=0, high=MAX_WIDTH)

    def build(self, width: int, neutral: Tensor) -> nn.Module:
        """As ``Hypernetwork.build``."""
        return EmbeddedChangePredictor(width, len(neutral), self.parameter_width, output_norm="fixed")


@dataclass(frozen=True, kw_only=True)
class ResidualMLP(Checked):
    """The source plus an MLP of [source, embedded change] (arXiv:2510.27222); its hidden layer is 2 d wide.

    Args:
        parameter_width: width of the linear embedding of the change, with BatchNorm; 0 for none.
    """

    parameter_width: int = 128

    def __post_init__(self) -> None:
        check_bounds(self, "parameter_width", low=0, high=MAX_WIDTH)

    def build(self, width: int, neutral: Tensor) -> nn.Module:
        """As ``Hypernetwork.build``."""
        return EmbeddedChangePredictor(
            width, len(neutral), self.parameter_width, hidden=(2 * width,), residual=True
        )


AnyPredictor = Affine | ResidualMLP | Hypernetwork | ConcatenatedMLP


class HypernetworkPredictor(nn.Module):
    """Applies the generated layers by contraction: the (B, d, d) weights never exist.

    ``weights[l]`` is (f, in, out) and ``biases[l]`` (f, out), f features of the change. The prediction is one
    product of (B, f * in) with (f * in, out), so memory grows with B * f * d instead of B * d * d.
    """

    def __init__(self, config: Hypernetwork, width: int, neutral: Tensor):
        super().__init__()
        self.config = config
        sizes = (len(neutral), *config.hidden)
        blocks = [(nn.Linear(a, b, bias=config.bias), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
        self.trunk = nn.Sequential(*itertools.chain(*blocks))
        features, widths = sizes[-1] + config.bias, (width, *config.layers, width)
        self.weights = nn.ParameterList(torch.empty(features, a, b) for a, b in itertools.pairwise(widths))
        biases = widths[1:] if config.generated_bias else ()
        self.biases = nn.ParameterList(torch.zeros(features, b) for b in biases)
        with torch.no_grad():
            self._start(self._features(neutral[None])[0])

    def _start(self, neutral: Tensor) -> None:
        if self.config.init == "original":
            for parameter in (*self.weights, *self.biases):
                nn.init.uniform_(parameter, -(len(neutral) ** -0.5), len(neutral) ** -0.5)
            return
        length = neutral.square().sum()
        if not length > 0 and not self.config.hidden:
            raise ValueError(
                "no change of these factors is encoded as zeros, for which a hypernetwork without bias can "
                "only predict 0; set predictor.bias=true"
            )
        direction = neutral / length.clamp(min=1e-12)
        for weight in self.weights:
            bound = (weight.shape[0] * weight.shape[1]) ** -0.5
            nn.init.uniform_(weight, -bound, bound)
            # Only what acts on no change is replaced, so that it is the identity to the last digit.
            acts = torch.einsum("f,fio->io", neutral, weight)
            weight += direction[:, None, None] * (torch.eye(*acts.shape) - acts)

    def _features(self, change: Tensor) -> Tensor:
        features: Tensor = self.trunk(change)
        return torch.cat([features, torch.ones_like(features[:, :1])], 1) if self.config.bias else features

    def forward(self, source: Tensor, change: Tensor) -> Tensor:
        """(B, d), (B, k) -> (B, d)."""
        features, x = self._features(change), source
        for n, weight in enumerate(self.weights):
            if n and self.config.activation:
                x = x.relu()
            x = (features[:, :, None] * x[:, None, :]).flatten(1) @ weight.flatten(0, 1)
            if len(self.biases):
                x = x + features @ self.biases[n]
        return x


class EmbeddedChangePredictor(nn.Module):
    """MLP on [source, EquiMod's embedding of the change], added to the source if ``residual``."""

    def __init__(
        self,
        width: int,
        change_size: int,
        parameter_width: int,
        hidden: tuple[int, ...] = (),
        output_norm: OutputNorm = "none",
        residual: bool = False,
    ):
        super().__init__()
        self.embed = MLP((change_size, parameter_width), "affine") if parameter_width else nn.Identity()
        self.layers = MLP((width + (parameter_width or change_size), *hidden, width), output_norm)
        self.residual = residual

    def forward(self, source: Tensor, change: Tensor) -> Tensor:
        """(B, d), (B, k) -> (B, d)."""
        predicted: Tensor = self.layers(torch.cat([source, self.embed(change)], 1))
        return source + predicted if self.residual else predicted


class ConcatenatedPredictor(nn.Module):
    """Linear layers with biases and ReLU between them; no BatchNorm."""

    def __init__(self, config: ConcatenatedMLP, width: int, change_size: int):
        super().__init__()
        sizes = (change_size + width, *config.hidden, width)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, source: Tensor, change: Tensor) -> Tensor:
        """(B, d), (B, k) -> (B, d)."""
        x = torch.cat([change, source], 1)
        for n, layer in enumerate(self.layers):
            x = layer(x.relu() if n else x)
        return x
