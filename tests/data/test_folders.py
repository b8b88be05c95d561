"""Image folders: what is a split, what a class, what is left out and told, and what is refused."""

import os

import numpy as np
import pytest
import torch
from PIL import Image

from datastill.data import folders, load_data
from datastill.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore:.*has no test split")


@pytest.fixture
def make(tmp_path):
    """A function that makes a folder with six different images in each of the folders in it that are named."""
    draw = np.random.default_rng(0)

    def made(*places, each=6, name="set"):
        for place in places:
            path = tmp_path / name / place
            (path if not path.suffix else path.parent).mkdir(parents=True, exist_ok=True)
            for file in [path] if path.suffix else [path / f"{i}.png" for i in range(each)]:
                Image.fromarray(draw.integers(256, size=(4, 4), dtype=np.uint8)).save(file)
        return tmp_path / name

    return made


@pytest.fixture
def said(monkeypatch):
    """The lines that were said."""
    lines = []
    monkeypatch.setattr(folders, "say", lines.append)
    return lines


def sizes(data):
    return len(data.train) + len(data.validation), len(data.test)


@pytest.mark.parametrize(
    ("train", "test"), [("Train", "Test"), ("TRAIN", "TEST"), ("Training", "Testing"), ("train", "Evaluation")]
)
def test_splits_in_any_case(make, said, train, test):
    path = make(*(f"{split}/{name}" for split in (train, test) for name in ("cat", "dog")))
    data = load_data(path)
    assert (data.class_names, sizes(data)) == (("cat", "dog"), (12, 12))
    held = {image.numpy().tobytes() for image in torch.cat([data.train.images, data.validation.images])}
    assert not held & {image.numpy().tobytes() for image in data.test.images}
    assert len(said) == 1
    assert "2 splits: train" in said[0]
    assert said[0].endswith("Left out: nothing")


@pytest.mark.parametrize(
    ("places", "classes", "count"),
    [
        (("bus", "car", "train"), ("bus", "car", "train"), 18),
        (("exam", "quiz", "test"), ("exam", "quiz", "test"), 18),
        (("train_station", "test_tube", "valley"), ("test_tube", "train_station", "valley"), 18),
        (("cat", "dog", "dog/test_1.png"), ("cat", "dog"), 13),
        (("cat", "dog", "cat/train_1.png", "dog/train_2.png"), ("cat", "dog"), 14),
        (("cat/2020", "cat/2021", "dog"), ("cat", "dog"), 18),
        (("train/cat", "train/dog"), ("cat", "dog"), 12),
        (("train/bus", "train/train", "test/bus", "test/train"), ("bus", "train"), 24),
        (("train/cat", "train/test tube", "test/cat", "test/test tube"), ("cat", "test tube"), 24),
        (("train/cat", "train/bullet_train", "test/cat", "test/bullet_train"), ("bullet_train", "cat"), 24),
    ],
)
def test_words_in_names_mean_nothing(make, said, places, classes, count):
    data = load_data(make(*places, name="set [v2] *?"))
    assert (data.class_names, sum(sizes(data))) == (classes, count)
    assert f"{len(classes)} classes" in said[0]


def test_what_is_left_out_is_counted(make, said):
    path = make("train/cat", "train/dog", "test/cat", "test/dog", "extra/cat", "loose.png", "test/stray.png")
    (path / "train" / "bird").mkdir()
    (path / "notes.txt").write_text("x")
    (path / "train" / "cat" / "a.npy").write_text("x")
    (path / "train" / "cat" / ".DS_Store").write_text("x")
    (path / "train" / "dog" / "gone.png").symlink_to("nowhere")
    os.mkfifo(path / "train" / "dog" / "pipe.png")
    data = load_data(path)
    assert sizes(data) == (12, 12)
    assert said[0].split("Left out: ")[1] == (
        "the folders extra with 6 images, 2 images in no class, 1 empty class (bird), 2 files of other "
        "kinds (.npy, .txt), 1 broken links, 1 hidden files or folders, 1 pipes or devices"
    )


def test_links_are_followed_once(make):
    path, other = make("cat", "dog"), make("bird", name="elsewhere")
    (path / "bird").symlink_to(other / "bird")
    (path / "dog" / "around").symlink_to(path)
    data = load_data(path)
    assert (data.class_names, sum(sizes(data))) == (("bird", "cat", "dog"), 18)


def test_a_table_beside_the_classes_changes_nothing(make):
    path = make("cat", "dog")
    (path / "metadata.csv").write_text("id,source\n1,web\n")
    assert load_data(path).class_names == ("cat", "dog")


@pytest.mark.usefixtures("cache")
def test_a_table_that_names_files_is_read_as_a_table(make):
    path = make("images", each=9)
    lines = [f"images/{i}.png,{'ab'[i % 2]}" for i in range(9)]
    (path / "metadata.csv").write_text("\n".join(["file_name,label", *lines]))
    assert load_data(path).class_names == ("a", "b")


@pytest.mark.parametrize(
    ("places", "message"),
    [
        (("train", "test"), "^the folders test, train of '.*' are called like splits but hold images directly"),
        (
            ("train/a", "train/b", "bus", "car"),
            "the folder 'train', which holds folders as a split does, beside bus",
        ),
        (("train/a", "train/b", "Training/a"), "^the folders 'Training' and 'train' of '.*' are both train"),
        (("test/a", "test/b"), "^there is no train split among the splits test"),
        (("pets/a", "pets/b"), "^all images of '.*' are in its folder 'pets', .* give '.*pets'$"),
        (("train/a", "train/b", "b\nus"), r"^'.*' has the folder 'train', which .* beside b\\nus; rename"),
        (("loose.png",), "^'.*' holds 1 image without a class; put"),
        (("cat",), "^there is only one class"),
    ],
)
def test_what_could_be_either_is_refused(make, places, message):
    with pytest.raises(UserError, match=message) as caught:
        load_data(make(*places))
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_mostly_something_else_is_not_walked_to_its_end(make, monkeypatch):
    path = make("cat", "dog")
    for i in range(200):
        (path / f"{i}.so").touch()
    monkeypatch.setattr(folders, "UNCHECKED_ENTRIES", 100)
    with pytest.raises(UserError, match=r"^of the first 101 files and folders in '.*' only 0 are images or tables"):
        load_data(path)


def test_a_folder_with_a_table_among_many_hidden_files_is_not_searched(tmp_path, monkeypatch):
    (tmp_path / "package.json").write_text("{}")
    (tmp_path / ".hidden").mkdir()
    for i in range(30):
        (tmp_path / ".hidden" / str(i)).touch()
    monkeypatch.setattr(folders, "UNCHECKED_BESIDE_TABLES", 20)
    with pytest.raises(UserError, match=r"holds more than 20 files and folders, hidden ones included, of which 1 are"):
        load_data(tmp_path)


def test_a_pipe_beside_a_table_is_not_opened(tmp_path):
    (tmp_path / "train.csv").touch()
    os.mkfifo(tmp_path / "test.csv")
    with pytest.raises(UserError, match="holds 1 pipes or devices beside its tables"):
        load_data(tmp_path)
