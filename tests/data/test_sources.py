"""Sources: the same images from a folder, a table, a torch dataset and arrays; and errors that say what to do."""

import itertools
import socket

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from datastill.data import KNOWN, DataSettings, load_data
from datastill.data.huggingface import read_table
from datastill.data.images import Reading
from datastill.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*has no test split")
NAMES = ["ant", "bee", "cat"]


def table(arrays, **columns):
    images, labels = arrays
    made = datasets.Dataset.from_dict(
        {"image": [Image.fromarray(image) for image in images], "label": labels.tolist(), **columns}
    )
    return made.cast_column("label", datasets.ClassLabel(names=NAMES))


def same(first, second, names=True):
    for role in ("train", "validation", "test"):
        one, other = getattr(first, role), getattr(second, role)
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)
    assert not names or first.class_names == second.class_names


class Pairs(torch.utils.data.Dataset):
    """Items by position, as a torch dataset gives them."""

    def __init__(self, images, labels, classes=None):
        self.images, self.labels, self.classes = images, labels, classes

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.images[i], self.labels[i]


def test_every_kind_of_source_gives_the_same_tensors(arrays):
    images, labels = arrays
    tensors = torch.tensor(images).permute(0, 3, 1, 2)
    expected = load_data(arrays)
    assert expected.shape == (3, 6, 5)
    same(load_data((tensors / 255, torch.tensor(labels))), expected)
    same(load_data(torch.utils.data.TensorDataset(tensors, torch.tensor(labels))), expected)
    named = load_data(Pairs([Image.fromarray(image) for image in images], labels.tolist(), NAMES))
    assert named.class_names == tuple(NAMES)
    same(named, expected, names=False)
    same(load_data(table(arrays)), named)
    same(load_data(datasets.DatasetDict(train=table(arrays))), named)
    same(load_data(table(arrays).with_format("torch")), named)


@pytest.mark.parametrize(
    "given",
    [
        lambda x, y: [(image, label) for image, label in zip(x, y, strict=True)],
        lambda x, y: zip(x, y, strict=True),
        lambda x, y: ((Image.fromarray(image), torch.tensor(label)) for image, label in zip(x, y, strict=True)),
        lambda x, y: Stream(zip(x, y, strict=True)),
        lambda x, y: Stream({"label": label, "image": image} for image, label in zip(x, y, strict=True)),
        lambda x, y: (x[::-1].copy()[::-1], y[::-1].copy()[::-1]),
        lambda x, y: (list(x), list(y)),
        lambda x, y: (torch.tensor(x), y[:, None] / 1),
        lambda x, y: (x, np.eye(3)[y]),
    ],
)
def test_other_kinds_of_data_in_python(arrays, given):
    same(load_data(given(*arrays)), load_data(arrays))


class Stream(torch.utils.data.IterableDataset):
    """Items in a row, without a length."""

    def __init__(self, items):
        self.items = items

    def __iter__(self):
        return iter(self.items)


class Failing(torch.utils.data.Dataset):
    """Its items cannot be read."""

    def __len__(self):
        return 1

    def __getitem__(self, i):
        raise KeyError("no\nfile")


def test_an_item_that_cannot_be_read_is_named():
    with pytest.raises(UserError, match="item 0 of split 'train' cannot be read: KeyError") as caught:
        load_data(Failing())
    assert "\n" not in str(caught.value)


def test_images_larger_than_the_memory_are_refused():
    huge = np.broadcast_to(np.zeros((1, 1, 1), np.uint8), (40, 2**20, 2**20))
    with pytest.raises(UserError, match=r"take 4.1e\+04 GiB of memory"):
        load_data((huge, np.arange(40) % 2))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("settings", [{"resize": 3.5}, {"resize": "28"}, {"resize": True}, {"pad": 1.5}, {"seed": 1.5}])
def test_settings_of_a_wrong_type_are_refused_by_name(arrays, settings):
    with pytest.raises(UserError, match=f"{next(iter(settings))} is .*, but must be a whole number"):
        load_data(arrays, **settings)


def test_every_kind_of_source_is_resized_and_converted_alike(arrays):
    expected = load_data(arrays, resize=4, channels="grey", name="mine")
    assert (expected.shape, expected.name) == ((1, 4, 4), "mine")
    same(load_data(table(arrays), resize=4, channels="grey"), expected, names=False)
    same(load_data(Pairs(*arrays), resize=4, channels="grey"), expected)


def test_a_black_margin_is_added_after_resizing(arrays):
    resized, found = load_data(arrays, resize=4), load_data(arrays, resize=4, pad=2)
    assert found.shape == (3, 8, 8)
    assert torch.equal(found.test.images[:, :, 2:-2, 2:-2], resized.test.images)
    assert found.train.images.sum() == resized.train.images.sum(), "the margin is black"
    assert found.space.mean == pytest.approx([each / 4 for each in resized.space.mean])
    with pytest.raises(UserError, match="pad is -1, but must be from 0 to 256 pixels"):
        DataSettings(pad=-1)


def test_splits_of_every_kind(arrays):
    images, labels = arrays
    head, tail = (images[:40], labels[:40]), (images[40:], labels[40:])
    expected = load_data({"train": head, "test": tail})
    assert torch.equal(expected.test.images, torch.tensor(tail[0]).permute(0, 3, 1, 2))
    same(load_data({"train": Pairs(*head), "test": Pairs(*tail)}), expected)
    same(load_data(datasets.DatasetDict(train=table(head), test=table(tail))), expected, names=False)


def test_a_shuffled_or_filtered_table_is_read_as_it_stands(arrays):
    order = np.random.default_rng(1).permutation(60)
    shuffled = load_data(table(arrays).select(order))
    same(shuffled, load_data((arrays[0][order], arrays[1][order])), names=False)
    two = load_data(table(arrays).filter(lambda row: row["label"] != 1))
    assert two.class_names == ("ant", "cat")
    assert two.train.labels.unique().tolist() == [0, 1]


@pytest.mark.parametrize("feature", [datasets.Array3D((6, 5, 3), "uint8"), None])
def test_columns_of_arrays(arrays, feature):
    made = datasets.Dataset.from_dict({"pixel_values": arrays[0].tolist(), "target": arrays[1].tolist()})
    if feature is not None:
        made = made.cast_column("pixel_values", feature)
    same(load_data(made), load_data(arrays))


@pytest.mark.usefixtures("cache")
def test_parquet_with_bytes_only(arrays, tmp_path):
    """As pandas writes it: a struct without a word about images."""
    made = table(arrays).cast_column("image", datasets.Image(decode=False)).with_format("arrow")[:]
    plain = datasets.Dataset(made.replace_schema_metadata({}))
    (tmp_path / "set").mkdir()
    plain.to_parquet(tmp_path / "set" / "train.parquet")
    same(load_data(str(tmp_path / "set")), load_data(arrays))


def test_parquet_without_a_cache_that_can_be_written(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", "/proc/nowhere/cache")
    (tmp_path / "set").mkdir()
    table(arrays).to_parquet(tmp_path / "set" / "train.parquet")
    same(load_data(tmp_path / "set"), load_data(table(arrays)))


@pytest.fixture
def folder(tmp_path, arrays, cache):
    """An image folder, one folder per class, with images of several modes that have equal pixels in RGB."""
    images, labels = arrays
    flat = np.repeat(images[..., :1] // 16 * 16, 3, 3)  # 16 greys, which any mode can hold
    for i, (image, label) in enumerate(zip(flat, labels, strict=True)):
        place = tmp_path / "pets" / ("train" if i < 45 else "test") / NAMES[label]
        place.mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(image)
        mode = ["RGB", "L", "P", "RGBA"][i // 3 % 4]
        (picture.quantize(16) if mode == "P" else picture.convert(mode)).save(place / f"{i:03}.png")
    return tmp_path / "pets", flat


def test_image_folder(folder):
    path, flat = folder
    data = load_data(path)
    assert data.name == "pets"
    assert data.class_names == tuple(NAMES)
    assert [len(split) for split in (data.train, data.validation, data.test)] == [41, 4, 15]
    order = sorted(range(45, 60), key=lambda i: i % 3)  # class by class
    assert torch.equal(data.test.images, torch.tensor(flat[order]).permute(0, 3, 1, 2))
    assert data.test.labels.tolist() == [i % 3 for i in order]


def test_names_and_paths_of_a_folder(folder, monkeypatch):
    path, _ = folder
    expected = load_data(path)
    same(load_data(str(path)), expected)
    same(load_data(DataSettings(name=str(path))), expected)
    monkeypatch.setenv("DATASTILL_DATA", str(path.parent))
    same(load_data("pets"), expected)
    monkeypatch.setenv("DATASTILL_DATA", "/nowhere")
    monkeypatch.chdir(path.parent)
    same(load_data("pets"), expected)
    same(load_data("./pets"), expected)
    assert load_data("pets").name == load_data("./pets").name == "pets"


def test_a_known_name_is_a_folder_first(folder, monkeypatch):
    path, _ = folder
    path.rename(path.with_name("svhn"))
    monkeypatch.setenv("DATASTILL_DATA", str(path.parent))
    assert load_data("svhn", resize=3).shape == (3, 3, 3)


def test_saved_to_disk(arrays, tmp_path):
    datasets.DatasetDict(train=table(arrays)).save_to_disk(tmp_path / "saved")
    same(load_data(tmp_path / "saved"), load_data(table(arrays)))


def test_settings_are_overridden(arrays):
    data = load_data(DataSettings(name="digits", resize=6), resize=5)
    assert data.shape == (1, 5, 5)
    assert load_data(name="digits").shape == (1, 8, 8)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"resise": 8}, "^unknown data setting 'resise': did you mean 'resize'"),
        ({"resize": 0}, "^resize is 0, but must be from 1 to 1024 pixels$"),
        ({"validation": 1.0}, "^validation is 1.0, but must be between 0 and 1"),
        ({"validation": 0.0}, "^validation is 0.0, but must be between 0 and 1"),
    ],
)
def test_wrong_settings(overrides, message):
    with pytest.raises(UserError, match=message):
        load_data("digits", **overrides)


def test_wrong_channels():
    settings = DataSettings()
    object.__setattr__(settings, "channels", "gray")  # past the type check that only tests have
    with pytest.raises(UserError, match=r"^unknown channels 'gray': did you mean 'grey'"):
        settings.__post_init__()


def test_known_names_choose_the_right_columns(arrays):
    known = KNOWN["cifar100"]
    images, labels = arrays
    both = table((images, labels // 2), fine_label=labels.tolist()).rename_columns(
        {"image": "img", "label": "coarse_label"}
    )
    assert read_table(both, Reading(), (known.image, known.label), "train").labels.tolist() == labels.tolist()
    assert read_table(both, Reading(), None, "train").labels.tolist() == labels.tolist()  # and found without being told


def test_unknown_names(monkeypatch, tmp_path):
    (tmp_path / "my_birds").mkdir()
    monkeypatch.setenv("DATASTILL_DATA", str(tmp_path))
    with pytest.raises(UserError, match=r"^unknown data 'my_bird': did you mean 'my_birds'.*there is no folder /"):
        load_data("my_bird")
    monkeypatch.delenv("DATASTILL_DATA")
    with pytest.raises(UserError, match=r"^unknown data 'minst': did you mean 'mnist'.*DATASTILL_DATA is not set$"):
        load_data("minst")
    with pytest.raises(UserError, match=r"^there is no folder '\./mnist' \(looked from .*\); name the folder .*"):
        load_data("./mnist")


@pytest.mark.usefixtures("cache")
def test_without_network(monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.delenv("DATASTILL_DATA", raising=False)
    with pytest.raises(
        UserError,
        match=r"^cannot get 'mnist': DATASTILL_DATA is not set, and the hub does not give ylecun/mnist \(.+\); "
        "set DATASTILL_DATA to a folder that holds one called mnist, or give the path of a folder with the images$",
    ) as caught:
        load_data("mnist")
    assert "\n" not in str(caught.value)
    assert "Retrying" not in capfd.readouterr().err


@pytest.mark.usefixtures("cache")
def test_folders_that_cannot_be_used(folder, tmp_path):
    one_class = folder[0] / "train" / "ant"
    with pytest.raises(UserError, match=r"^'.*ant' holds 15 images without a class; put the images into a folder for"):
        load_data(one_class)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^'.*empty' holds neither images nor tables; put the images into a folder"):
        load_data(tmp_path / "empty")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "train.parquet").write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"^cannot read the folder '.*broken' \(.+\); it must hold"):
        load_data(tmp_path / "broken")


def test_tables_that_cannot_be_used(arrays):
    good = table(arrays)
    hidden = good.remove_columns("label").add_column("label", [-1] * 60, feature=datasets.ClassLabel(names=NAMES))
    bad = {
        "^split 'test', column 'label', has no labels: 60 of 60 are -1": {"train": good, "test": hidden},
        "^split 'train' has no labels among its columns image": good.remove_columns("label"),
        "^split 'train' has no labels for 1 of 2 examples": datasets.Dataset.from_dict(
            {"image": [Image.fromarray(arrays[0][0])] * 2, "label": [1, None]}
        ),
        r"^split 'train' has several label columns \(a, b\)": good.rename_column("label", "a").add_column(
            "b", [0] * 60, feature=datasets.ClassLabel(names=NAMES)
        ),
        "^column 'image' of split 'train' holds text": datasets.Dataset.from_dict({"image": ["x"], "label": [1]}),
        "^there is only one class": good.filter(lambda row: row["label"] == 1),
        "^the splits train, test have different class names": {
            "train": good,
            "test": good.cast_column("label", datasets.ClassLabel(names=["x", "y", "z"])),
        },
        "^image 1 of split 'train' is missing": datasets.Dataset.from_dict(
            {"image": [Image.fromarray(arrays[0][0]), None], "label": [1, 0]}
        ),
    }
    for message, source in bad.items():
        with pytest.raises(UserError, match=message) as caught:
            load_data(source)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x, y[:-1]), "^train has 60 images, but 59 labels"),
        (lambda x, y: (x, y * 0 - 1), "^split 'train' has no labels: 60 of 60 are -1"),
        (lambda x, y: (x, y * 0), r"^there is only one class \(0\), but"),
        (lambda x, y: {"train": (x, y), "test": (x[:, :4], y)}, r"^images have different sizes, e\.g\. 6x5 and 4x5"),
        (lambda x, y: {"train": (x, y), "test": (x, y.astype(str))}, "^the splits train, test have labels of differe"),
        (lambda x, y: torch.utils.data.DataLoader([(x, y)]), r"^cannot read data from a DataLoader.* loader\.dataset$"),
        (lambda x, y: itertools.repeat((x[0], 1)), r"^split 'train' gives more than 1000 items and may have no end"),
        (lambda x, y: iter([]), r"^split 'train' has no images$"),
        (lambda x, y: iter([x[0]]), r"^item 0 of split 'train' is a ndarray, but must be a pair"),
        (lambda x, y: ([x[0], x[0, :3]], y[:2]), r"^images of split 'train' are no array of numbers"),
        (lambda x, y: (torch.zeros(2, 4, 4, device="meta"), y[:2]), "^images of split 'train' are no array of numbers"),
        (lambda x, y: {0: (x, y)}, "^splits must be named by strings"),
        (lambda x, y: x, r"^cannot read data from numpy\.ndarray; give a name, a folder"),
        (lambda x, y: Pairs(x, y, ["ant", "bee"]), "^labels of split 'train' go from 0 to 2, but there are 2 class na"),
        (lambda x, y: torch.utils.data.TensorDataset(torch.tensor(x)), "^item 0 .* is a tuple, but must be a pair"),
        (lambda x, y: torch.utils.data.ChainDataset([]), "^split 'train' has no images$"),
    ],
)
def test_arrays_that_cannot_be_used(arrays, change, message, monkeypatch):
    monkeypatch.setattr("datastill.data.given.MAX_ITEMS", 1000)
    with pytest.raises(UserError, match=message):
        load_data(change(*arrays))


def test_grey_in_one_split_only_becomes_colour(arrays):
    images, labels = arrays
    data = load_data({"train": (images, labels), "test": (images[..., 0], labels)})
    assert data.shape == (3, 6, 5)
    assert torch.equal(data.test.images[:, 0], data.test.images[:, 2])
