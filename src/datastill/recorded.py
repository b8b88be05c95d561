"""Functions recorded as CUDA graphs: a GPU then runs all their operations at one call, which Python is too slow for."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

WARM_UP = 3
"""Calls before a function is recorded; libraries of the GPU choose their algorithms and take their memory in these."""


def recorded(function: Callable[..., Any], arguments: Sequence[Tensor]) -> Callable[..., Any]:
    """Return a function for tensors of these shapes that gives equal results, recorded on their device if it is a GPU.

    A gradient step has hundreds of operations, each of which takes a GPU a few microseconds, and Python as long or
    longer to ask for. On a CPU, or if an operation cannot be recorded, the function itself is returned.

    Args:
        function: a pure function of tensors, which returns tensors in lists, tuples and dictionaries, however deep.
        arguments: tensors of the shapes, types and device of every later call.
    """
    if not arguments or not arguments[0].is_cuda:
        return function
    try:
        return _Recorded(function, arguments)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        warnings.warn(f"not recorded as a CUDA graph, which would be faster: {reason}", stacklevel=2)
        return function


class _Recorded:
    """A CUDA graph with the memory that it reads its arguments from, and that it writes its results to."""

    def __init__(self, function: Callable[..., Any], arguments: Sequence[Tensor]) -> None:
        self.function = function  # it may hold weights that the graph reads
        self.arguments = [each.detach().clone() for each in arguments]
        device = arguments[0].device
        with torch.no_grad(), torch.cuda.device(device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(WARM_UP):
                    function(*self.arguments)
            torch.cuda.current_stream().wait_stream(beside)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.results = function(*self.arguments)

    def __call__(self, *arguments: Tensor) -> Any:
        """Return new tensors, so that the next call does not change the results of this one."""
        with torch.no_grad():
            torch._foreach_copy_(self.arguments, [each.detach() for each in arguments])
            self.graph.replay()
            return tree_map(torch.clone, self.results)
