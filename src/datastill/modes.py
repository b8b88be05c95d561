"""PyTorch's modes, which a caller may have changed and under which the library would compute other numbers or fail."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor


@contextmanager
def usual_modes() -> Iterator[None]:
    """Compute as PyTorch does by default, whatever the caller's modes are; they hold again afterwards.

    Gradients are on, new tensors are float32 on the CPU, and neither inference mode nor autocast is active. Also a
    decorator, for the functions that people call.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if dtype != torch.float32:  # it holds for all threads: touch it only where it matters
            stack.callback(torch.set_default_dtype, dtype)
            torch.set_default_dtype(torch.float32)
        yield


def trainable(tensor: Tensor) -> Tensor:
    """The tensor, or a copy that autograd accepts if it was made in inference mode."""
    return tensor.clone() if tensor.is_inference() else tensor
