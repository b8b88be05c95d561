"""Sets of other projects: whatever the file, the images and labels are those that were saved."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from datastill import DistilledSet, UserError, load_data
from datastill.cli import main
from datastill.data import DataSettings, RealData
from datastill.evaluation import Protocol, score
from datastill.exporting import export
from datastill.networks.start import Random, parse_start
from datastill.program import SquaredError
from datastill.shared_sets import Found, distilled_from, read_shared

DATA = load_data(DataSettings(name="digits"))
PIXELS = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))
CLASSES = torch.arange(10).repeat(2)


def made(found: Found, data: RealData = DATA, **changes: object) -> DistilledSet:
    settings: dict = {"network": "mlp", "start": Random(), "program": "shuffled-300", "values": "unit", "mirror": False}
    return distilled_from(found, data, **(settings | changes))


def same(distilled: DistilledSet, targets: Tensor = CLASSES) -> None:
    torch.testing.assert_close(distilled.original(), PIXELS)
    torch.testing.assert_close(distilled.targets, targets)


def test_arrays_of_either_layout_and_one_hot_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", images=PIXELS.permute(0, 2, 3, 1).numpy(), labels=np.eye(10)[CLASSES])
    same(made(read_shared(tmp_path / "set.npz", DATA)))


def test_one_of_several_sets_in_a_list_of_pairs(tmp_path: Path) -> None:
    torch.save({"data": [[PIXELS + 1, CLASSES], [PIXELS, CLASSES]], "accs_all_exps": {}}, tmp_path / "res.pt")
    same(made(read_shared(tmp_path / "res.pt", DATA, number=1)))
    with pytest.raises(UserError, match="holds 2 sets, but number is 2; take 0 to 1"):
        read_shared(tmp_path / "res.pt", DATA, number=2)


def test_images_and_labels_in_a_file_each(tmp_path: Path) -> None:
    torch.save(PIXELS, tmp_path / "images_best.pt")
    torch.save(CLASSES, tmp_path / "labels_best.pt")
    same(made(read_shared(tmp_path / "images_best.pt", DATA, labels=tmp_path / "labels_best.pt")))
    with pytest.raises(UserError, match="give it with --labels"):
        read_shared(tmp_path / "images_best.pt", DATA)


@pytest.mark.parametrize("names", [DATA.class_names, [str(i) for i in range(10)]])
def test_a_folder_of_pictures_for_each_class(tmp_path: Path, names: list[str]) -> None:
    stored = (PIXELS * 255).round().byte()
    for i, (image, label) in enumerate(zip(stored, CLASSES, strict=True)):
        (tmp_path / names[label]).mkdir(exist_ok=True)
        Image.fromarray(image[0].numpy()).save(tmp_path / names[label] / f"{i:02}.png")
    found = made(read_shared(tmp_path, DATA), values="bytes")
    order = torch.tensor(sorted(range(20), key=lambda i: (names[CLASSES[i]], i)))
    torch.testing.assert_close(found.original(), stored[order] / 255)
    assert torch.equal(found.targets, CLASSES[order])
    (tmp_path / names[0]).rename(tmp_path / "unknown")
    with pytest.raises(UserError, match=r"the folder 'unknown' in .* is neither a class of digits"):
        read_shared(tmp_path, DATA)


def test_a_folder_without_pictures_is_named_as_a_folder(tmp_path: Path) -> None:
    (tmp_path / "table.parquet").touch()
    with pytest.raises(UserError, match=r"the folder '.*' has no folders with images"):
        read_shared(tmp_path, DATA)


def test_normalised_values_are_turned_back_by_their_own_mean_and_deviation() -> None:
    theirs = Found(images=(PIXELS - 0.25) / 0.5, labels=CLASSES)
    same(made(theirs, values="normalised", mean=(0.25,), std=(0.5,)))
    same(made(Found(images=DATA.space.renormalised(PIXELS), labels=CLASSES), values="normalised"))
    with pytest.raises(UserError, match="mean and std have no effect on values unit"):
        made(theirs, mean=(0.25,))


def test_values_in_0_to_1_are_said_to_be_taken_as_normalised(capsys: pytest.CaptureFixture[str]) -> None:
    wanted = "lie in 0..1 and are taken as normalised, (pixel - mean) / std; if they are pixels, take --values unit"
    for images, values, said in ((PIXELS, "auto", True), (PIXELS, "unit", False), (PIXELS - 0.5, "auto", False)):
        made(Found(images=images, labels=CLASSES), values=values)
        assert (wanted in capsys.readouterr().err) is said


def test_classes_without_an_image_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    made(Found(images=PIXELS, labels=CLASSES.where(CLASSES < 8, 0)))
    assert "2 of 10 classes have no image in the set: 8, 9" in capsys.readouterr().err
    made(Found(images=PIXELS, labels=CLASSES))
    assert "have no image" not in capsys.readouterr().err


def test_what_an_exported_archive_loses_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = made(Found(images=PIXELS, labels=CLASSES), program="shuffled-300-adam")
    again = made(read_shared(export(first, tmp_path / "set.npz", "npz"), DATA), values="auto")
    assert "was written by datastill export" in (said := capsys.readouterr().err)
    assert "but not its program" in said
    torch.testing.assert_close(again.inputs, first.inputs)
    assert again.program != first.program
    read_shared(export(first, tmp_path / "pictures", "png"), DATA)
    assert "but not its program" in capsys.readouterr().err


def test_probabilities_stay_and_labels_of_any_sign_are_learned_with_squared_error() -> None:
    soft = torch.rand(20, 10, generator=torch.Generator().manual_seed(1)).softmax(1)
    same(made(Found(images=PIXELS, labels=soft)), soft)
    signed = made(Found(images=PIXELS, labels=soft - 0.1))
    same(signed, soft - 0.1)
    assert isinstance(signed.program.loss, SquaredError)


@pytest.mark.parametrize(
    ("images", "labels", "changes", "message"),
    [
        (PIXELS[:, :, :7], CLASSES, {}, r"have shape \(20, 1, 7, 8\), but must be \(n, 1, 8, 8\)"),
        (PIXELS, CLASSES[:5], {}, "there are 20 images, but 5 labels"),
        (PIXELS, torch.zeros(20, 3), {}, r"labels have shape \(20, 3\), but must be \(20,\) or \(20, 10\)"),
        (PIXELS, CLASSES + 1, {}, "10 classes|0 to 9|between 0 and"),
        (PIXELS, CLASSES + 0.5, {}, "labels of the set"),
        (PIXELS, torch.zeros(20, 10), {}, "labels of image 0 sum to 0, but probabilities sum to 1; divide each row"),
        (PIXELS, 2 * torch.eye(10).repeat(2, 1), {}, "labels of image 0 sum to 2, but probabilities"),
        (255 * PIXELS, CLASSES, {}, "which are not unit; take another --values"),
        (255 * PIXELS, CLASSES, {"values": "auto"}, "are floats from .* to 255, which look like pixels in 0..255; say"),
        (PIXELS, CLASSES, {"values": "bytes"}, "which are not bytes; take another --values"),
        (
            PIXELS * torch.nan,
            CLASSES,
            {},
            r"hold values that are not finite \(the first is image 0\); take",
        ),
        (PIXELS, CLASSES, {"network": "mpl"}, "mpl"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(images: Tensor, labels: Tensor, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        made(Found(images=images, labels=labels), **changes)


def test_the_command_makes_a_set_that_is_evaluated_like_any_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = DATA.train.spaced(40)
    np.savez(tmp_path / "set.npz", images=real.images.numpy(), labels=real.labels.numpy())
    to = tmp_path / "set.safetensors"
    more = ["--data", "digits", "--network", "mlp", "--no-mirror", "--to", str(to)]
    assert main(["import", str(tmp_path / "set.npz"), *more]) == 0
    assert "40 images of 10 classes with hard labels" in capsys.readouterr().out
    found = DistilledSet.load(to)
    quick = replace(found, program=replace(found.program, order=found.program.order.with_epochs(30)))
    assert score(quick, DATA, Protocol(networks=2, step_size=0.1)).mean > 0.5
    assert main(["show", str(to)]) == 0
    assert main(["import", str(tmp_path / "set.npz"), *more]) == 2
    assert f"{to} exists and is not overwritten" in capsys.readouterr().err
    assert main(["import", str(tmp_path / "none.npz"), *more, "--to", str(tmp_path / "new.safetensors")]) == 2


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (PIXELS.numpy().astype(">f4"), CLASSES.numpy().astype(">i8")),
        ((PIXELS * 255).round().numpy().astype(np.uint16), CLASSES.numpy().astype(np.uint8)),
        ((PIXELS * 255).round().numpy().astype(np.uint64), CLASSES.numpy().astype(np.float64)),
    ],
)
def test_arrays_of_other_types_hold_the_same_set(tmp_path: Path, images: np.ndarray, labels: np.ndarray) -> None:
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    values = "unit" if images.dtype.kind == "f" else "bytes"
    found = made(read_shared(tmp_path / "set.npz", DATA), values=values)
    torch.testing.assert_close(found.original(), PIXELS, atol=0.5 / 255, rtol=0)
    torch.testing.assert_close(found.targets, CLASSES)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (PIXELS.numpy().astype(np.complex64), CLASSES.numpy(), "values of type complex64; images and labels must be"),
        (PIXELS.numpy(), CLASSES.numpy().astype(str), "values of type <U21; images and labels must be numbers"),
        (np.array(3), CLASSES.numpy(), "a single number in the place of images or labels"),
        (PIXELS.numpy(), np.array(3), "a single number in the place of images or labels"),
    ],
)
def test_arrays_that_are_no_images_or_labels_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    np.savez(tmp_path / "set.npz", images=images, labels=labels)
    with pytest.raises(UserError, match=message):
        read_shared(tmp_path / "set.npz", DATA)


def test_what_has_no_effect_is_refused(tmp_path: Path) -> None:
    torch.save(CLASSES, tmp_path / "labels.pt")
    torch.save(PIXELS, tmp_path / "images.pt")
    (tmp_path / "0").mkdir()
    with pytest.raises(UserError, match=r"labels is .* has no effect: folders in .* are the classes"):
        read_shared(tmp_path, DATA, labels=tmp_path / "labels.pt")
    with pytest.raises(UserError, match="number is 7, but has no effect"):
        read_shared(tmp_path / "images.pt", DATA, labels=tmp_path / "labels.pt", number=7)
    with pytest.raises(UserError, match=r"is a folder, but must be a file that ends in \.npz"):
        read_shared(tmp_path / "images.pt", DATA, labels=tmp_path / "0")


@pytest.mark.parametrize("start", ["pool:no-such-file.safetensors", "pretrained", "fixed(xavier)"])
def test_a_start_that_nobody_could_have_is_refused(start: str) -> None:
    with pytest.raises(
        UserError, match=r"no-such-file|draws its weights at random|hold no initial weights; take random"
    ):
        made(Found(images=PIXELS, labels=CLASSES), start=parse_start(start))
