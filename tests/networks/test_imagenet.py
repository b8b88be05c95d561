"""AlexNet and SqueezeNet are torchvision's, take its weights from files, and refuse files that do not fit."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from datastill.errors import UserError
from datastill.networks import build, must_keep_weights
from datastill.networks.alexnet import alexnet
from datastill.networks.squeezenet import squeezenet
from datastill.networks.weights import WEIGHTS_FOLDER, find
from datastill.training import Batch, EagerSteps, ForwardSteps, TracedSteps, mean_loss

from ..training.cases import derivatives

SHAPE = (3, 63, 63)  # the smallest that AlexNet takes
CONVOLUTIONS = {
    "features.0": (64, 3, 11, 11),
    "features.3": (192, 64, 5, 5),
    "features.6": (384, 192, 3, 3),
    "features.8": (256, 384, 3, 3),
    "features.10": (256, 256, 3, 3),
}


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


@pytest.fixture(scope="module")
def features() -> dict[str, torch.Tensor]:
    """Convolutions alone, as some files have them."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        found = state(alexnet(shape=SHAPE, classes=2))
    return {name: value for name, value in found.items() if name.startswith("features.")}


@pytest.fixture(scope="module")
def file(features: dict[str, torch.Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "features.safetensors"
    other = {"lpips.lin0.weight": torch.ones(1, 64, 1, 1)}
    save_file({name: value.half() for name, value in features.items()} | other, path)
    return path


def test_the_networks_have_as_many_parameters_as_torchvisions() -> None:
    with torch.device("meta"):  # no memory, and nothing is drawn
        assert count(alexnet(shape=(3, 224, 224), classes=1000, head="full")) == 61_100_840
        assert count(squeezenet(shape=(3, 224, 224), classes=1000)) == 1_235_496
        assert count(alexnet(shape=(3, 224, 224), classes=10)) == 2_469_696 + 256 * 6 * 6 * 10 + 10


def test_the_parameters_have_torchvisions_names_and_shapes() -> None:
    with torch.device("meta"):
        found = {
            name: tuple(value.shape) for name, value in alexnet(shape=SHAPE, classes=7, head="full").named_parameters()
        }
        small = {name: tuple(value.shape) for name, value in squeezenet(shape=SHAPE, classes=7).named_parameters()}
    layers = CONVOLUTIONS | {"classifier.1": (4096, 9216), "classifier.4": (4096, 4096), "classifier.6": (7, 4096)}
    assert found == {
        f"{name}.{what}": size
        for name, shape in layers.items()
        for what, size in (("weight", shape), ("bias", shape[:1]))
    }
    fires = {f"features.{i}" for i in (3, 4, 6, 7, 9, 10, 11, 12)}
    parts = {f"{fire}.{part}" for fire in fires for part in ("squeeze", "expand1x1", "expand3x3")}
    assert {name.rpartition(".")[0] for name in small} == {"features.0", "classifier.1", *parts}
    assert small["features.12.expand3x3.weight"] == (256, 64, 3, 3)
    assert small["classifier.1.weight"] == (7, 512, 1, 1)


def test_images_of_224_become_256_times_6_times_6_features() -> None:
    with torch.device("meta"):
        images, module = torch.zeros(1, 3, 224, 224), alexnet(shape=(3, 224, 224), classes=2)
        assert module.get_submodule("features")(images).shape == (1, 256, 6, 6)
        small = squeezenet(shape=(3, 224, 224), classes=2)
        assert small.get_submodule("features")(images).shape == (1, 512, 13, 13)


@pytest.mark.parametrize(("spec", "size"), [("alexnet", 63), ("squeezenet", 17)])
def test_the_smallest_images_are_those_of_which_pooling_leaves_something(spec: str, size: int) -> None:
    network = build(spec, shape=(1, size, size), classes=2)
    assert network.apply(
        network.init("own", [torch.Generator().manual_seed(0)])[0], torch.rand(3, 1, size, size)
    ).shape == (3, 2)
    with pytest.raises(UserError, match=f"at least {size}x{size}, not {size - 1}x{size}; set resize to") as caught:
        build(spec, shape=(1, size - 1, size), classes=2)
    assert "\n" not in str(caught.value)


# --- weights


def test_weights_are_those_of_the_file_in_single_precision_and_the_last_layer_is_new(
    file: Path, features: dict[str, torch.Tensor]
) -> None:
    module = alexnet(shape=SHAPE, classes=4, weights=str(file))
    found = state(module)
    for name, value in features.items():
        assert torch.equal(found.pop(name), value.half().float())
    assert torch.equal(found.pop("classifier.0.weight"), torch.zeros(4, 9216))
    assert torch.equal(found.pop("classifier.0.bias"), torch.ones(4))
    assert not found
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_a_full_file_keeps_its_hidden_layers_whatever_its_last_one_was(tmp_path: Path) -> None:
    whole, path = squeezenet(shape=SHAPE, classes=1000), tmp_path / "squeezenet.pth"
    torch.save(whole.state_dict(), path)  # as torchvision's files are
    found = state(squeezenet(shape=SHAPE, classes=5, weights=str(path)))
    for name, value in whole.state_dict().items():
        assert name.startswith("classifier.1.") or torch.equal(found[name], value)
    assert torch.equal(found["classifier.1.weight"], torch.zeros(5, 512, 1, 1))
    assert torch.equal(found["classifier.1.bias"], torch.ones(5))


def test_a_changed_file_is_read_anew(file: Path, tmp_path: Path, features: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "changing.safetensors"
    for factor in (1.0, 2.0):
        save_file({name: factor * value for name, value in features.items()}, path)
        found = state(alexnet(shape=SHAPE, classes=2, weights=str(path)))["features.0.weight"]
        assert torch.equal(found, factor * features["features.0.weight"])


def test_a_bare_name_is_looked_up_beside_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATASTILL_DATA", str(tmp_path / "data"))
    with pytest.raises(UserError, match=r"no weights at .*data/weights/x\.pt or x\.pt; give the path.*DATASTILL_DATA"):
        find("x.pt")
    (tmp_path / "x.pt").touch()
    assert find("x.pt") == Path("x.pt")
    (tmp_path / "data" / WEIGHTS_FOLDER).mkdir(parents=True)
    (tmp_path / "data" / WEIGHTS_FOLDER / "x.pt").touch()
    assert find("x.pt") == tmp_path / "data" / WEIGHTS_FOLDER / "x.pt"
    with pytest.raises(UserError, match=r"no weights at other/x\.pt; give the path of the file$"):
        find("other/x.pt")


class More:
    """What a pickle may hold besides tensors."""


def without(found: dict, name: str) -> dict:
    return {key: value for key, value in found.items() if key != name}


BAD = {
    "missing": (
        lambda f: without(f, "features.8.bias"),
        r"do not fit: features\.8\.bias is missing, where features\.8\.bias of 256 was expected",
    ),
    "all missing": (
        lambda f: {f"module.{name}": value for name, value in f.items()},
        r"features\.0\.weight, features\.0\.bias, features\.3\.weight and 7 more are missing, .* of 64x3x11x11 was",
    ),
    "extra": (
        lambda f: f | {"features.12.weight": torch.zeros(2, 3)},
        r"do not fit: features\.12\.weight is too many, features\.12\.weight of 2x3; expected features\.0\.weight, ",
    ),
    "misshapen": (
        lambda f: f | {"features.3.weight": torch.zeros(192, 64, 3, 3)},
        r"do not fit: features\.3\.weight is 192x64x3x3, but 192x64x5x5 was expected",
    ),
    "full file": (
        lambda f: f | {"classifier.1.weight": torch.zeros(4096, 9216), "classifier.6.bias": torch.zeros(1000)},
        r"classifier\.1\.weight, classifier\.6\.bias are too many, .*; with fc6 and fc7 take head=full",
    ),
    "more": (
        lambda f: f | {"epoch": 3},
        r"is refused: it holds more than tensors \('epoch' is a int\); save the state",
    ),
    "nested": (lambda f: {"state_dict": f}, r"is refused: it holds more than tensors \('state_dict' is a dict\)"),
    "list": (lambda f: list(f.values()), r"is refused: it holds a list, not named tensors; save the state"),
    "object": (
        lambda f: f | {"more": More()},
        r"is refused: it is a pickle that holds more than tensors \(.*More\); save",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_file_that_does_not_fit_is_refused_in_one_line(
    kind: str, features: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    make, message = BAD[kind]
    torch.save(make(features), tmp_path / "bad.pt")
    with pytest.raises(UserError, match=message) as caught:
        alexnet(shape=SHAPE, classes=2, weights=str(tmp_path / "bad.pt"))
    assert "\n" not in str(caught.value)
    assert "bad.pt" in str(caught.value)


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Running:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    for protocol in (0, 2):
        (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"features.0.weight": Running()}, protocol=protocol))
        with pytest.raises(UserError, match=r"bad\.pkl"):
            alexnet(shape=SHAPE, classes=2, weights=str(tmp_path / "bad.pkl"))
    torch.save({"features.0.weight": Running()}, tmp_path / "bad.pt")
    with pytest.raises(UserError, match=r"bad\.pt is refused: it is a pickle that holds more than tensors"):
        alexnet(shape=SHAPE, classes=2, weights=str(tmp_path / "bad.pt"))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", ["safetensors", "pt", "text", "empty"])
def test_a_file_that_is_cut_short_or_no_such_file_is_told(
    kind: str, features: dict[str, torch.Tensor], tmp_path: Path
) -> None:
    path = tmp_path / f"cut.{kind}"
    if kind == "safetensors":
        save_file(features, path)
    elif kind == "pt":
        torch.save(features, path)
    path.write_bytes(path.read_bytes()[:-1000] if path.exists() else b"hello" if kind == "text" else b"")
    with pytest.raises(
        UserError, match=r"is not a whole .*; it is cut short or of another kind|not a whole safetensors"
    ) as caught:
        alexnet(shape=SHAPE, classes=2, weights=str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("head=ful", "unknown head 'ful': did you mean 'full'"),
        ("adapt=some", "unknown adapt 'some': known: all, classifier"),
        ("adapt=classifier", "would freeze layers that were never trained; give weights=FILE"),
        ("weights=nowhere.pt", "there are no weights at"),
        ("weights=nowhere.pt,adapt=non", "unknown adapt 'non'"),
    ],
)
def test_settings_that_make_no_sense_are_told_in_one_line(settings: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(f"alexnet({settings})", shape=SHAPE, classes=2)
    assert "\n" not in str(caught.value)


def test_a_full_head_needs_its_hidden_layers_and_colour_is_told(file: Path) -> None:
    message = r"classifier\.1\.weight, .* are missing, .* of 4096x9216 .*take head=linear"
    with pytest.raises(UserError, match=message), torch.device("meta"):
        alexnet(shape=SHAPE, classes=2, weights=str(file), head="full")
    with pytest.raises(UserError, match=r"takes images of 3 channels, not 1; set channels to colour"):
        alexnet(shape=(1, 63, 63), classes=2, weights=str(file))


def test_an_initialiser_that_would_draw_the_weights_anew_is_refused() -> None:
    with pytest.raises(
        UserError, match=r"comes with weights, which the initialiser 'xavier' would replace; take --start"
    ):
        must_keep_weights("alexnet(weights=x.pt)", "xavier")
    for spec, initialiser in (
        ("alexnet(weights=x.pt)", "own"),
        ("alexnet(weights=x.pt,adapt=classifier)", "xavier"),
        ("alexnet", "xavier"),
        ("my_networks:net(weights=3)", "xavier"),
    ):
        must_keep_weights(spec, initialiser)


# --- computing with them


@pytest.mark.parametrize(
    ("name", "adapt"), [("alexnet", "all"), ("alexnet", "classifier"), ("squeezenet", "classifier")]
)
def test_all_ways_to_compute_a_step_agree(name: str, adapt: str, file: Path, tmp_path: Path) -> None:
    if name == "squeezenet":
        file, shape = tmp_path / "squeezenet.safetensors", (3, 17, 17)
        save_file(state(squeezenet(shape=shape, classes=2)), file)
    network = build(f"{name}(weights={file},adapt={adapt})", shape=SHAPE if name == "alexnet" else shape, classes=2)
    draw = torch.Generator().manual_seed(0)
    theta = network.own()[None].double()
    theta = theta + 0.01 * torch.randn(theta.shape, generator=draw)
    x = torch.randn(1, 2, *network.shape, generator=draw).double()
    y, u = torch.tensor([0, 1]), torch.randn(theta.shape, generator=draw).double()
    expected = None
    for kind in (EagerSteps, ForwardSteps, TracedSteps):
        gradient, back = kind(mean_loss(network)).linearise(theta, Batch(x, y[None]))
        found = (gradient, *derivatives(back, u))
        for a, b in zip(found, expected or found, strict=True):
            assert b.abs().max() > 0
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * float(b.abs().max()))
        expected = expected or found
