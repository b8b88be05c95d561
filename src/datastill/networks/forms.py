"""A context that replaces functions of PyTorch by other forms of them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class OtherForms(TorchFunctionMode):
    """A context in which functions of PyTorch are replaced by others that give equal numbers, in this thread only.

    Args:
        forms: function of PyTorch to the function that is called instead, with the same arguments.
    """

    def __init__(self, forms: Mapping[Callable[..., Any], Callable[..., Any]]) -> None:
        super().__init__()
        self.forms = forms
        self.met = False
        """Whether one of the functions was called inside."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Return the call, or its other form."""
        other = self.forms.get(func)
        self.met = self.met or other is not None
        return (other or func)(*args, **kwargs or {})
