"""A context that replaces functions of PyTorch by other functions with equal results."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class OtherForms(TorchFunctionMode):
    """A context that replaces functions of PyTorch by functions with equal results, in this thread only.

    Args:
        forms: from a function of PyTorch to the function that replaces it and takes equal arguments.
    """

    def __init__(self, forms: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.forms = forms
        self.met = False
        """Whether a function in `forms` was called inside."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, or the function that replaces it."""
        other = self.forms.get(func)
        self.met = self.met or other is not None
        return (other or func)(*args, **kwargs or {})


def quick(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Keep the signature of `forward` of an autograd function, which PyTorch would find out anew in each call."""
    forward.__signature__ = inspect.signature(forward)  # type: ignore[attr-defined]
    return forward
