import json
import stat

import numpy as np
import pytest
import torch
from datasets import ClassLabel, disable_progress_bars, load_dataset
from PIL import Image

from datastill.artifact import DistilledSet, Header, Pixels
from datastill.errors import UserError
from datastill.exporting import SPLIT_WORDS, class_folders, export, png_loss
from datastill.networks.start import Fixed, Random

from .sets import in_steps, set_of_steps

disable_progress_bars()
NAMES = ("truck", "high-speed train", "cat", "cat/dog")  # unsorted, the name of a split, not a file name


def make(*, shape=(3, 6, 5), soft=False, fixed=False, dtype=torch.float32, names=NAMES) -> DistilledSet:
    generator = torch.Generator().manual_seed(0)
    labels = torch.tensor([[3, 0, 1, 0], [0, 1, 2, 3], [1, 1, 3, 2]])
    if soft:
        labels = torch.nn.functional.one_hot(labels, 4) * 0.7 + torch.rand(3, 4, 4, generator=generator) * 0.1
    header = Header(
        data="toys",
        class_names=names,
        space=Pixels(
            mean=(0.3, 0.5, 0.7)[: shape[0]] if shape[0] <= 3 else (0.5,) * shape[0],
            std=(0.3, 0.4, 0.5)[: shape[0]] if shape[0] <= 3 else (0.5,) * shape[0],
            shape=shape,
        ),
        network="lenet",
        start=Fixed() if fixed else Random(),
        score={"mean": 0.5, "sd": 0.1, "n": 3},
    )
    return set_of_steps(
        torch.randn(3, 4, *shape, generator=generator).to(dtype),
        labels,
        torch.rand(2, 3, generator=generator),
        header=header,
        theta_0={"a.weight": torch.randn(3, 2), "a.bias": torch.randn(3)} if fixed else None,
    )


def rounded(distilled: DistilledSet) -> np.ndarray:
    """8-bit images by the definition: (step, index, height, width, channels)."""
    pixels = in_steps(distilled, distilled.original()).double().numpy()
    return np.moveaxis(np.rint(np.clip(pixels, 0, 1) * 255), 2, -1).astype(np.uint8)


def classes(distilled: DistilledSet) -> list[int]:
    return (distilled.targets if distilled.hard else distilled.targets.argmax(-1)).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16])
def test_npz_holds_every_tensor_bit_for_bit_and_the_header(tmp_path, dtype):
    distilled = make(fixed=True, soft=True, dtype=dtype)
    path = export(distilled, tmp_path / "set", "npz")
    assert path == tmp_path / "set.npz"
    with np.load(path, allow_pickle=False) as stored:
        assert set(stored) == {*distilled.tensors(), "header", "program.json", "README.md", "fit.py", "network.py"}
        for name, tensor in distilled.tensors().items():
            assert stored[name].dtype == tensor.numpy().dtype
            assert stored[name].tobytes() == tensor.numpy().tobytes()
        header = json.loads(stored["header"].item())
    assert header["class_names"] == list(NAMES)
    assert header["score"] == {"mean": 0.5, "sd": 0.1, "n": 3}


def test_npz_holds_bfloat16_as_float32_without_loss(tmp_path):
    distilled = make(dtype=torch.bfloat16)
    with np.load(export(distilled, tmp_path / "set.npz", "npz")) as stored:
        assert torch.equal(torch.from_numpy(stored["inputs"]).bfloat16(), distilled.inputs)


@pytest.mark.parametrize("shape", [(3, 6, 5), (1, 6, 5)])
def test_png_pixels_are_the_rounded_clipped_pixels(tmp_path, shape):
    distilled = make(shape=shape)
    folder = export(distilled, tmp_path / "png", "png")
    files = json.loads((folder / "program.json").read_text())["files"]
    for step, index in np.ndindex(3, 4):
        with Image.open(folder / files[4 * step + index]) as image:
            assert image.mode == ("RGB" if shape[0] == 3 else "L")
            assert (np.asarray(image).reshape(6, 5, shape[0]) == rounded(distilled)[step, index]).all()
    assert len(list(folder.rglob("*.png"))) == 12


def test_the_loss_of_8_bit_images_is_what_the_files_have_lost(tmp_path):
    distilled = make()
    folder = export(distilled, tmp_path / "png", "png")
    program = json.loads((folder / "program.json").read_text())
    read = np.stack([np.asarray(Image.open(folder / name)) for name in program["files"]])
    error = np.abs(np.moveaxis(distilled.original().double().numpy(), 1, -1) - read / 255)
    loss = png_loss(distilled)
    assert loss.max_error == pytest.approx(error.max(), rel=1e-12)
    assert loss.mean_error == pytest.approx(error.mean(), rel=1e-12)
    assert loss.max_error > 0.2  # the point of measuring it: normal noise leaves [0, 1] by far
    assert program["png_loss"]["max_error"] == loss.max_error
    assert str(loss) in (folder / "README.md").read_text()


def test_images_of_whole_levels_lose_nothing():
    distilled = make(shape=(1, 6, 5))
    levels = torch.arange(256).repeat(2)[: distilled.inputs.numel()].view(distilled.inputs.shape) / 255
    object.__setattr__(distilled, "inputs", distilled.normalise(levels))
    loss = png_loss(distilled)
    assert loss.max_error < 1e-6
    assert loss.outside < 0.02  # rounding may put a pixel of 0 or 1 just outside


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("plain", [False, True])
def test_png_folder_loads_as_images_with_the_same_labels_and_order(tmp_path, soft, plain):
    distilled = make(soft=soft)
    folder = str(export(distilled, tmp_path / "png", "png"))
    where = {"path": folder} if plain else {"path": "imagefolder", "data_dir": folder}
    loaded = load_dataset(**where, cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    table = loaded["train"]
    assert list(table["label"]) == classes(distilled)
    assert list(table["class"]) == [NAMES[c] for c in classes(distilled)]
    assert list(zip(table["step"], table["index"], strict=True)) == list(np.ndindex(3, 4))
    assert np.array_equal(table["step_sizes"], distilled.step_sizes.T.repeat_interleave(4, 0))
    assert (np.stack([np.asarray(image) for image in table["image"]]) == rounded(distilled).reshape(12, 6, 5, 3)).all()
    if soft:
        assert np.array_equal(table["label_values"], distilled.targets.numpy())


def test_png_folders_give_the_same_labels_to_loaders_that_know_no_metadata(tmp_path):
    distilled = make()
    folder = export(distilled, tmp_path / "png", "png")
    (folder / "metadata.jsonl").unlink()
    table = load_dataset("imagefolder", data_dir=str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    by_picture = {rounded(distilled)[s, b].tobytes(): classes(distilled)[4 * s + b] for s, b in np.ndindex(3, 4)}
    assert [by_picture[np.asarray(image).tobytes()] for image in table["image"]] == list(table["label"])


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_parquet_loads_with_classes_images_order_and_exact_values(tmp_path, soft, dtype):
    distilled = make(soft=soft, dtype=dtype)
    folder = export(distilled, tmp_path / "parquet", "parquet")
    loaded = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    table = loaded["train"]
    assert table.features["label"] == ClassLabel(names=list(NAMES))
    assert list(table["label"]) == classes(distilled)
    assert list(zip(table["step"], table["index"], strict=True)) == list(np.ndindex(3, 4))
    assert (np.stack([np.asarray(image) for image in table["image"]]) == rounded(distilled).reshape(12, 6, 5, 3)).all()
    numbers = table.with_format("numpy")
    exact = distilled.inputs.numpy()
    assert table.features["example"].dtype == str(exact.dtype)
    examples = table.with_format("numpy", columns=["example"], dtype=exact.dtype)["example"]
    assert np.array_equal(np.asarray(examples), exact)
    assert np.array_equal(np.asarray(numbers["step_sizes"]), distilled.step_sizes.T.repeat_interleave(4, 0).numpy())
    assert ("label_values" in table.features) == soft
    if soft:
        assert np.array_equal(np.asarray(numbers["label_values"]), distilled.targets.numpy())


def test_training_from_the_parquet_folder_is_training_on_the_set(tmp_path):
    distilled = make()
    model, other = (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(90, 4)) for _ in range(2))
    other.load_state_dict(model.state_dict())
    folder = export(distilled, tmp_path / "parquet", "parquet")
    table = load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"].with_format("torch")
    for epoch in range(2):
        for step in range(3):
            rows = table[4 * step : 4 * step + 4]
            torch.nn.functional.cross_entropy(other(rows["example"]), rows["label"]).backward()
            with torch.no_grad():
                for parameter in other.parameters():
                    parameter -= rows["step_sizes"][0][epoch] * parameter.grad
                    parameter.grad = None
    for expected, found in zip(distilled.fit(model).parameters(), other.parameters(), strict=True):
        assert torch.allclose(expected, found, atol=1e-6)


@pytest.mark.parametrize("kind", ["png", "parquet"])
def test_the_program_is_written_beside_the_images(tmp_path, kind):
    distilled = make(fixed=True)
    folder = export(distilled, tmp_path / "out", kind)
    program = json.loads((folder / "program.json").read_text())
    assert torch.equal(torch.tensor(program["step_sizes"]), distilled.step_sizes)
    assert program["labels"] == distilled.targets.tolist()
    assert (program["examples"], program["order"]) == (12, {"kind": "ordered"})
    assert program["space"]["mean"] == [0.3, 0.5, 0.7]
    with np.load(folder / "initial_weights.npz") as stored:
        assert {name: stored[f"initial.{name}"].tolist() for name in distilled.theta_0} == {
            name: value.tolist() for name, value in distilled.theta_0.items()
        }


@pytest.mark.parametrize("kind", ["png", "npz", "parquet"])
def test_nothing_is_written_over_what_is_there(tmp_path, kind):
    target = tmp_path / ("set.npz" if kind == "npz" else "set")
    export(make(), target, kind)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match="export does not overwrite anything"):
        export(make(), target, kind)
    assert sorted(tmp_path.rglob("*")) == before


def test_an_empty_folder_may_be_filled(tmp_path):
    (tmp_path / "out").mkdir()
    assert (export(make(), tmp_path / "out", "png") / "program.json").is_file()


def test_an_export_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(Image.Image, "save", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match=r"cannot write .*No space left"):
        export(make(), tmp_path / "out", "png")
    assert list(tmp_path.iterdir()) == []


def test_others_may_read_the_folder(tmp_path):
    folder = export(make(), tmp_path / "out", "png")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


def test_wrong_requests_say_what_is_possible(tmp_path):
    with pytest.raises(UserError, match="unknown export format 'parquett': did you mean 'parquet'"):
        export(make(), tmp_path / "out", "parquett")
    for kind in ("png", "parquet"):
        with pytest.raises(UserError, match=r"5 channels, but .* export as npz"):
            export(make(shape=(5, 4, 4)), tmp_path / "out", kind)
    assert export(make(shape=(5, 4, 4)), tmp_path / "out", "npz").is_file()


@pytest.mark.parametrize(
    "names",
    [
        ("cat", "dog"),
        ("dog", "cat"),
        tuple(map(str, range(12))),
        ("a/b", "a b", "a\\b"),
        ("..", ".", "", "/"),
        ("Train", "test", "val-2", "high speed train", "trainer"),
        ("con", "NUL", "com1"),
        ("x" * 300, "x" * 300 + "y"),
        ("Katze", "katze"),
        ("日本", "größe"),
    ],
)
def test_class_folders_are_valid_unique_no_splits_and_sort_in_class_order(names, tmp_path):
    folders = class_folders(names)
    assert sorted(folders) == folders
    assert len({name.casefold() for name in folders}) == len(names)
    for name in folders:
        assert not set(name) & set('/\\<>:"|?*.\0')
        assert name.lower() not in ("con", "nul", "com1")
        assert not {word for word in SPLIT_WORDS.split("|") if word in name.lower().replace("-", "_").split("_")}
        (tmp_path / name).mkdir()
    assert len(list(tmp_path.iterdir())) == len(names)


def test_class_folders_keep_plain_names():
    assert class_folders(("airplane", "bird", "sea-lion_2")) == ["airplane", "bird", "sea-lion_2"]
