"""Protect the library from modes of PyTorch that a caller has changed and that would change its results."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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
        for products in (torch.backends.cudnn, torch.backends.cuda.matmul):  # convolutions, and products of matrices
            if torch.cuda.is_available() and products.allow_tf32:
                stack.callback(setattr, products, "allow_tf32", True)
                setattr(products, "allow_tf32", False)  # noqa: B010 (a type checker does not know that it can be set)
        if dtype != torch.float32:  # the default holds for all threads, so change it only if needed
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


def trainable(tensor: Tensor) -> Tensor:
    """Return the tensor, or a copy that autograd accepts if the tensor was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
