"""Own networks by name: a factory may have any signature; dropout is off, which a run says."""

import sys
from types import ModuleType
from typing import Any

import pytest
from torch import nn

from datastill.errors import UserError
from datastill.making import prepare
from datastill.networks import build

from ..toys import toy_config, toy_data


def small(width: int, classes: int, dropout: float = 0.0) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, width), nn.Dropout(dropout), nn.ReLU(), nn.Linear(width, classes))


class Small(nn.Sequential):
    """As the classes of torchvision, which know neither shape nor classes."""

    def __init__(self, width: int = 3, num_classes: int = 1000) -> None:
        super().__init__(*small(width, num_classes))


def like_torchvision(*, weights: Any = None, progress: bool = True, **kwargs: Any) -> nn.Module:
    return Small(**kwargs)


def like_timm(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    return {"small": Small}[model_name](**kwargs)


def wrapped(*args: Any, **kwargs: Any) -> nn.Module:
    def inner(*, shape: tuple[int, ...], classes: int, width: int = 3) -> nn.Module:
        assert shape == (1, 4, 4)
        return small(width, classes)

    return inner(*args, **kwargs)


def by_place(shape: tuple[int, ...], classes: int, /, width: int = 3) -> nn.Module:
    assert shape == (1, 4, 4)
    return small(width, classes)


@pytest.fixture(autouse=True)
def module(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ModuleType("nets_of_this_test")
    makers = {"small": small, "Small": Small, "tv": like_torchvision, "timm": like_timm, "by_place": by_place}
    vars(found).update(makers, wrapped=wrapped, plain=lambda: small(3, 3), dropping=lambda: small(3, 3, 0.5))
    monkeypatch.setitem(sys.modules, found.__name__, found)


@pytest.mark.parametrize(
    "written",
    [
        "small(width=3)",
        "Small(num_classes=3)",
        "tv(num_classes=3)",
        "tv(num_classes=3,width=3)",
        "timm(model_name=small,num_classes=3)",
        "wrapped",
        "wrapped(width=3)",
        "by_place",
        "by_place(width=3)",
        "plain",
    ],
)
def test_a_factory_of_any_signature_makes_a_network(written: str) -> None:
    assert build(f"nets_of_this_test:{written}", shape=(1, 4, 4), classes=3).size == 16 * 3 + 3 + 3 * 3 + 3


@pytest.mark.parametrize(
    ("written", "message"),
    [
        (
            "small",
            r"cannot be made: .*missing 1 required .*'width'; give them in brackets, as in NAME\(argument=value\)$",
        ),
        ("small(width=3,depth=1)", r"unknown argument 'depth' of network .*: "),
        ("tv(depth=1)", "cannot be made: .*unexpected keyword argument 'depth'"),
        ("Small", "1000"),
    ],
)
def test_what_a_factory_lacks_is_said_in_one_line(written: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(f"nets_of_this_test:{written}", shape=(1, 4, 4), classes=3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("written", "said"), [("dropping", True), ("plain", False)])
def test_a_run_says_that_dropout_is_off(written: str, said: bool, capsys: pytest.CaptureFixture) -> None:
    prepare(toy_config(network=f"nets_of_this_test:{written}", start="random(own)"), toy_data())
    assert ("has dropout, which is off here and in every use of the set" in capsys.readouterr().err) == said
