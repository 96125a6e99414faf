"""BatchNorm over the batches of several processes."""

from __future__ import annotations

import torch
from timm.layers.norm_act import convert_sync_batchnorm
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from equissl.distributed import mean, world_size


class SyncBatchNorm(_BatchNorm):
    """BatchNorm with statistics of the batches of all processes, on the CPU, which torch's own refuses.

    Equal to BatchNorm of the joined batch in one process, gradients and running statistics included, if
    gradients are averaged over processes. Processes may hold different numbers of images. All of them must
    call it in training mode, or none.

    Args:
        norm: the layer that it stands in for, and whose parameters and buffers it shares; of timm's layers
            of norm, dropout and activation also these two.
    """

    def __init__(self, norm: _BatchNorm):
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        self._parameters, self._buffers, self._modules = norm._parameters, norm._buffers, norm._modules
        self.train(norm.training)

    def forward(self, input: Tensor) -> Tensor:
        x = self._normalise(input) if self.training else super().forward(input)
        for layer in self.children():  # timm's "drop" and "act", in this order
            x = layer(x)
        return x

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (B, C) or more dimensions, got {input.dim()}")

    def _normalise(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        x = input if input.dtype == torch.float64 else input.float()
        shape = [1, -1, *[1] * (x.dim() - 2)]
        mean_, variance = self._moments(x)
        x = (x - mean_.to(x.dtype).view(shape)) * (variance + self.eps).rsqrt().to(x.dtype).view(shape)
        x = x if self.weight is None else x * self.weight.view(shape)
        x = x if self.bias is None else x + self.bias.view(shape)
        return x.to(input.dtype)

    def _moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of every channel over all processes, (C,) float64; running statistics follow."""
        variance, average = torch.var_mean(x.transpose(0, 1).flatten(1), 1, correction=0)
        variance, average = variance.double(), average.double()
        count = average.new_tensor([x.numel() / x.shape[1]])
        # Squares are in float64, so that the mean can be taken out of them again.
        sums = mean(torch.cat([count, count * average, count * (variance + average.square())]))
        count, total, squares = torch.split(sums, [1, self.num_features, self.num_features])
        average = total / count
        variance = squares / count - average.square()
        self._track(average.detach(), variance.detach(), float(count.detach()) * world_size())
        return average, variance.clamp(min=0)

    @torch.no_grad()
    def _track(self, average: Tensor, variance: Tensor, count: float) -> None:
        if count < 2:
            raise ValueError(f"BatchNorm needs more than one value per channel when training, got {count:g}")
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        factor = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(average.to(self.running_mean.dtype), factor)
        self.running_var.lerp_((variance * (count / (count - 1))).to(self.running_var.dtype), factor)


def synchronise_batch_norm(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with every BatchNorm replaced by one over all processes; parameters and names stay.

    torch's on CUDA, converted by timm, since torch's own conversion drops the activation of fused layers.
    """
    if device.type == "cuda":
        converted: nn.Module = convert_sync_batchnorm(module)  # type: ignore[no-untyped-call]
        return converted
    if isinstance(module, _BatchNorm):
        return SyncBatchNorm(module)
    for name, child in module.named_children():
        module.add_module(name, synchronise_batch_norm(child, device))
    return module
