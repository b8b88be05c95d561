"""Protect the library from modes of PyTorch that a caller has changed and that would change its results."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor


@contextmanager
def usual_modes() -> Iterator[None]:
    """Set the modes of PyTorch to their defaults inside this context, and restore the caller's modes afterwards.

    Gradients are on, new tensors are float32 on the CPU, and inference mode and autocast are off. On a GPU, products of
    float32 are computed in float32, and not in TF32, which has the three digits of float16: hypergradients through a
    few steps were wrong by a quarter (docs/LOG.md). Can also be used as a decorator.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.empty(0).device.type != "cpu":  # torch.get_default_device misses `with torch.device(...)` in torch 2.6
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.cuda.is_available():
            for where, name, usual, before in _precisions():
                stack.callback(setattr, where, name, before)
                setattr(where, name, usual)
        if dtype != torch.float32:  # the default holds for all threads, so change it only if needed
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


def _precisions() -> Iterator[tuple[Any, str, Any, Any]]:
    """Yield how products of float32 are computed on a GPU: where this is set, its name, the usual and present value."""
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    for old, new in ((cudnn, getattr(cudnn, "conv", cudnn)), (matmul, matmul)):
        try:
            yield old, "allow_tf32", False, old.allow_tf32
        except RuntimeError:  # the caller set it by the name that newer releases of PyTorch have for it
            yield new, "fp32_precision", "ieee", new.fp32_precision


def trainable(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy that autograd accepts if the tensor was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
