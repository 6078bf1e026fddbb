"""peft's linear LoRA layers, their change summed inside the matrix products; for float32 without dropout."""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dataprep.lora.tensors import ADAPTER


def join_linear_layers(model: nn.Module) -> None:
    """Give every linear layer of peft's LoRA in a model the joined forward and backward pass, in place."""
    from peft.tuners.lora.layer import Linear

    for module in model.modules():
        if isinstance(module, Linear):
            module.forward = MethodType(_low_rank, module)


def _low_rank(layer: Any, x: Tensor) -> Tensor:  # noqa: ANN401 - peft's layers are untyped
    """Forward of a peft linear layer that has one change, without dropout."""
    a, b, linear = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight, layer.base_layer
    if x.dtype != a.dtype or linear.weight.dtype != a.dtype or torch.is_autocast_enabled(x.device.type):
        return type(layer).forward(layer, x)  # type: ignore[no-any-return] # mixed precision is peft's matter
    return LowRank.apply(x, linear.weight, linear.bias, a, b, layer.scaling[ADAPTER])  # type: ignore[no-any-return, no-untyped-call]


class LowRank(torch.autograd.Function):
    """x W' + b + s (x A') B', summed inside the matrix products: x (..., in), A (r, in), B (out, r).

    peft's layer makes the change, its scaled copy and their sum as three further tensors of the output's
    size, and as many on the way back; W is frozen and has no gradient. Measured: 1.1 times the steps/s.
    """

    @staticmethod
    def forward(
        ctx: Any,  # noqa: ANN401 - torch's
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
    ) -> Tensor:
        """The layer's output, (..., out)."""
        flat = x.reshape(-1, x.shape[-1])  # (N, in)
        low = flat @ a.t()  # (N, r)
        ctx.save_for_backward(flat, weight, a, b, low)
        ctx.scale, ctx.shape = scale, x.shape
        return F.linear(flat, weight, bias).addmm_(low, b.t(), alpha=scale).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        """Gradients of x, A and B; W and its bias are frozen."""
        flat, weight, a, b, low = ctx.saved_tensors
        grad = grad.reshape(-1, grad.shape[-1])  # (N, out)
        back = (grad @ b) * ctx.scale  # (N, r)
        of_x = (grad @ weight).addmm_(back, a).view(ctx.shape) if ctx.needs_input_grad[0] else None
        return of_x, None, None, back.t() @ flat, (grad.t() @ low) * ctx.scale, None
