"""Functions that a GPU may record: elsewhere they are computed as they are."""

import pytest
import torch
from torch import Tensor

from datastill.recorded import recorded

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def both(a: Tensor, b: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    return a + b, {"product": a * b}


def test_on_a_cpu_a_function_is_itself() -> None:
    assert recorded(both, (torch.ones(2), torch.ones(2))) is both
    assert recorded(both, ()) is both


@needs_gpu
def test_a_recorded_function_gives_new_results_for_new_arguments() -> None:
    a, b = torch.arange(6.0, device="cuda").split(3)
    run = recorded(both, (a, b))
    assert run is not both
    first = run(a, b)
    second = run(b, b)
    for found, (x, y) in ((first, (a, b)), (second, (b, b))):
        torch.testing.assert_close(found[0], x + y)
        torch.testing.assert_close(found[1]["product"], x * y)


@needs_gpu
def test_what_waits_for_the_gpu_cannot_be_recorded_and_is_computed_as_it_is() -> None:
    def waits(a: Tensor) -> Tensor:
        return a * float(a.sum())

    with pytest.warns(UserWarning, match="not recorded as a CUDA graph"):
        assert recorded(waits, (torch.ones(2, device="cuda"),)) is waits
