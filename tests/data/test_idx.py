"""IDX files: the bytes that were written are the images that are read, and broken files are told by name."""

import gzip
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from datastill.data import load_data
from datastill.data.idx import read_file
from datastill.errors import UserError


def idx(array: np.ndarray) -> bytes:
    """The format as its author describes it: magic number, sizes, values."""
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(count)
    return draw.integers(256, size=(count, 5, 4), dtype=np.uint8), (np.arange(count) % 3).astype(np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for prefix, count in (("train", 30), ("t10k", 12)):
        images, labels = digits(count)
        (tmp_path / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))  # either may be compressed
    return tmp_path


@given(arrays(np.uint8, array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5)), st.booleans())
def test_what_is_written_is_read(tmp_path_factory, array, compressed) -> None:
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    np.testing.assert_array_equal(read_file(path), array)


def test_a_folder_is_data(folder: Path) -> None:
    data = load_data(folder)
    images, labels = digits(12)
    np.testing.assert_array_equal(data.test.images.numpy()[:, 0], images)
    np.testing.assert_array_equal(data.test.labels.numpy(), labels)
    assert data.class_names == ("0", "1", "2")
    assert len(data.train) + len(data.validation) == 30


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-images.idx3-ubyte", "train-labels.idx1-ubyte"),
        ("emnist-letters-train-images-idx3-ubyte", "emnist-letters-train-labels-idx1-ubyte"),
        ("images-idx3-ubyte", "labels-idx1-ubyte"),
    ],
)
def test_usual_names_are_known(tmp_path: Path, name: str, split: str) -> None:
    images, labels = digits(60)
    (tmp_path / name).write_bytes(idx(images))
    (tmp_path / split).write_bytes(idx(labels))
    with pytest.warns(UserWarning, match="no test split"):
        data = load_data(tmp_path)
    assert len(data.train) + len(data.validation) + len(data.test) == 60


def test_several_sets_are_listed_and_one_is_named(folder: Path) -> None:
    images, labels = digits(60)
    for name in ("letters", "bymerge"):
        for split in ("train", "test"):
            (folder / f"emnist-{name}-{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images)))
            (folder / f"emnist-{name}-{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
        images = images // 2
    with pytest.raises(UserError, match=r"holds 3 sets: one without a name, emnist-bymerge, emnist-letters; name one"):
        load_data(folder)
    with pytest.warns(UserWarning, match="identical"):
        data = load_data(folder / "emnist-letters")
    assert data.test.images.max() > 127
    assert data.name == "emnist-letters"


def test_a_file_that_is_there_twice_is_one(folder: Path) -> None:
    packed = folder / "train-images-idx3-ubyte.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.write_bytes(b"broken")
    assert len(load_data(folder).test) == 12


@pytest.mark.parametrize("claimed", [4, 2**32 - 1])
def test_no_more_is_unpacked_than_the_header_says_and_is_likely(tmp_path: Path, claimed: int) -> None:
    path = tmp_path / "file.gz"
    content = b"\0\0\x08\x01" + struct.pack(">I", claimed) + bytes(2**22)
    path.write_bytes(gzip.compress(content))
    tracemalloc.start()
    with pytest.raises(UserError, match=r"holds more bytes of data|says that it holds 4294967295 bytes, more"):
        read_file(path)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def cut(folder: Path) -> None:
    path = folder / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes()[:-3])


def cut_gzip(folder: Path) -> None:
    path = folder / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:100])


def cut_header(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01\0")


def empty(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"")


def wrong_magic(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x0d\x01" + bytes(20))


def unequal(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(digits(11)[1]))


def missing(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte").unlink()


def too_flat(folder: Path) -> None:
    (folder / "t10k-labels-idx1-ubyte").write_bytes(idx(digits(12)[0]))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut, "t10k-labels-idx1-ubyte holds 9 bytes of data where its header says 12 bytes"),
        (cut_gzip, "train-images-idx3-ubyte.gz cannot be read"),
        (cut_header, "ends within its header, which says 1 sizes"),
        (empty, "begins with nothing"),
        (wrong_magic, "begins with 00 00 0d 01, but an IDX file of bytes begins with 00 00 08"),
        (unequal, "t10k-images-idx3-ubyte.gz has 12 images, but t10k-labels-idx1-ubyte has 11 labels"),
        (missing, "there is no t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz beside it"),
        (too_flat, "its labels 3; expected 3 .* and 1"),
    ],
)
def test_broken_files_are_named(folder: Path, damage, message: str) -> None:
    damage(folder)
    with pytest.raises(UserError, match=message):
        load_data(folder)
