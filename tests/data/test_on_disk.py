"""Images that stay on disk are those that would be in memory, and a cache is whole or is made again."""

import json
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from datastill import Protocol, UserError, load_data, score
from datastill.data import decoding, files, on_disk, pixel_cache
from datastill.data.duplicates import first_of
from datastill.data.images import Reading
from datastill.data.on_disk import OnDisk
from datastill.data.real import Split, statistics
from datastill.methods.distribution_matching import DistributionMatching
from datastill.methods.selection import Herding, RandomReal

from ..toys import toy_set, toy_task

pytestmark = pytest.mark.filterwarnings("ignore:.*has no test split")
DRAW = np.random.default_rng(0)
DISK = Reading(store="disk")
STORES = ("memory", "disk")


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(decoding, "IMAGES_PER_TASK", 4)
    return tmp_path / "cache" / "datastill" / "images"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of 12 images of 9 x 8 pixels; the first ones are grey, one is twice there, and one is broken."""
    for label in "ab":
        (tmp_path / "pets" / label).mkdir(parents=True)
        for i in range(12):
            shape = (9, 8) if label == "a" and i < 9 else (9, 8, 3)
            image = Image.fromarray(DRAW.integers(256, size=shape, dtype=np.uint8))
            image.save(tmp_path / "pets" / label / f"{i:02}.png")
    (tmp_path / "pets/b/13.png").write_bytes((tmp_path / "pets/b/11.png").read_bytes())
    (tmp_path / "pets/b/12.png").write_bytes(b"broken")
    return tmp_path / "pets"


def on_both(source, **settings):
    return [load_data(source, skip_unreadable=True, store=store, **settings) for store in ("memory", "disk")]


@pytest.mark.parametrize("settings", [{}, {"channels": "grey", "pad": 2}, {"resize": 6, "fit": "crop", "whiten": 0.1}])
def test_images_on_disk_are_those_in_memory(folder, settings):
    memory, disk = on_both(folder, **settings)
    assert isinstance(disk.train.images, OnDisk)
    assert isinstance(memory.train.images, torch.Tensor)
    assert disk.sha256 == memory.sha256
    assert disk.space == memory.space
    assert torch.equal(disk.validation.tensor, memory.validation.tensor)
    assert torch.equal(disk.train.labels, memory.train.labels)
    assert disk.class_names == memory.class_names


@pytest.mark.parametrize("selection", [RandomReal(ipc=2), Herding(ipc=2)], ids=lambda each: each.name)
def test_real_images_are_chosen_on_disk_as_in_memory(arrays, selection):
    one, other = (selection.images(toy_task(data=load_data(arrays, store=store))) for store in STORES)
    assert torch.equal(one, other)


def test_examples_are_learned_and_measured_on_disk_as_in_memory(arrays):
    method, found = DistributionMatching(ipc=1, real_per_class=4), []
    for store in STORES:
        data = load_data(arrays, store=store)
        task = toy_task(data=data)
        state = method.init(task)
        update = method.step(task, state, 0)
        accuracies = score(toy_set(data), data, Protocol(networks=2)).accuracies
        found.append((state.learned["examples"], update.gradients["examples"], accuracies))
    (examples, gradients, scores), others = found
    assert torch.equal(examples, others[0])
    assert torch.equal(gradients, others[1])
    assert scores == others[2]


@pytest.fixture
def ten() -> tuple[OnDisk, torch.Tensor]:
    """Images on disk, and the same ones as a tensor; they are the even ones of twenty, each with a border."""
    images = torch.from_numpy(DRAW.integers(256, size=(20, 3, 4, 5), dtype=np.uint8))
    pieces = [pixel_cache.Piece(images=images, done=20, kept=list(range(20)))]
    found = pixel_cache.from_cache("here", "twenty", 20, 60, lambda: iter(pieces)).images
    assert isinstance(found, OnDisk)
    even = torch.arange(0, 20, 2)
    return found.only(even).changed(lambda batch: torch.nn.functional.pad(batch, (1, 0))), torch.nn.functional.pad(
        images[even], (1, 0)
    )


def test_an_index_means_what_it_means_for_a_tensor(ten):
    disk, tensor = ten
    assert len(disk) == len(tensor)
    assert disk.shape == tensor.shape
    for which in (3, -1, slice(2, 7), torch.tensor(4), torch.tensor([9, 0, 0]), torch.arange(6).view(2, 3)):
        assert torch.equal(disk[which], tensor[which])
    assert torch.equal(disk[tensor[:, 0, 0, 1] > 99], tensor[tensor[:, 0, 0, 1] > 99])
    assert torch.equal(torch.cat(list(disk.split(4))), tensor)
    assert disk.to("meta")[:].device.type == "meta"


def test_images_are_decoded_once_and_again_if_the_source_changes(folder, monkeypatch):
    before = on_both(folder)[1]
    read = []
    monkeypatch.setattr(decoding, "_report_unreadable", lambda *_: read.append(1))
    again = load_data(folder, skip_unreadable=True, store="disk")
    assert (read, again.sha256) == ([], before.sha256)
    Image.new("RGB", (8, 9)).save(folder / "b/00.png")
    changed = load_data(folder, skip_unreadable=True, store="disk")
    assert read == [1]
    assert changed.sha256 != before.sha256


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("pixels", lambda content: content[:-1]),
        ("pixels", lambda content: b"?" + content[1:]),
        ("about.json", lambda content: content[:20]),
        ("about.json", lambda content: b"[]"),
    ],
)
def test_a_damaged_cache_is_made_again(ten, caches, capsys, name, damage):
    path = caches / "twenty" / name
    path.write_bytes(damage(path.read_bytes()))
    images = torch.zeros((20, 3, 4, 5), dtype=torch.uint8)
    piece = pixel_cache.Piece(images=images, done=20, kept=list(range(20)))
    found = pixel_cache.from_cache("here", "twenty", 20, 60, lambda: iter([piece]))
    assert torch.equal(found.images[:], images)
    assert "the decoded images of here" in capsys.readouterr().err.replace("\n", " ")


def test_what_was_interrupted_is_not_taken_for_whole(folder, caches, monkeypatch):
    write = pixel_cache._Writer.add

    def interrupted(self, images):
        write(self, images)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(pixel_cache._Writer, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            load_data(folder, skip_unreadable=True, store="disk")
    assert list(caches.iterdir()) == []
    (caches / f".datastill-{'0' * 16}.partial").mkdir()  # a killed process has left it
    memory, disk = on_both(folder)
    assert disk.sha256 == memory.sha256
    assert len(list(caches.iterdir())) == 1


def test_of_several_processes_one_decodes_the_images(folder, caches, monkeypatch):
    made = []
    make = pixel_cache._make
    monkeypatch.setattr(pixel_cache, "_make", lambda *args: (made.append(1), make(*args)))
    paths = sorted(map(str, folder.glob("a/*")))
    with ThreadPoolExecutor(3) as pool:  # each opens the lock itself, as a process does
        found = list(pool.map(lambda _: decoding.decode(paths, "here", DISK).images[:], range(3)))
    assert made == [1]
    assert all(torch.equal(each, found[0]) for each in found)
    assert [path.name for path in caches.iterdir()] == [next(caches.iterdir()).name]


def test_images_stay_on_disk_if_three_copies_do_not_fit_in_memory(arrays, monkeypatch):
    size = arrays[0].nbytes
    for free, kind in ((3 * size, torch.Tensor), (3 * size - 1, OnDisk)):
        monkeypatch.setattr(pixel_cache, "free_bytes", lambda _, free=free: free)
        assert isinstance(load_data(arrays).train.images, kind)
    assert isinstance(load_data(arrays, store="memory").train.images, torch.Tensor)


def test_what_needs_all_images_at_once_is_refused_in_one_line(arrays, monkeypatch):
    data = load_data(arrays, store="disk")
    monkeypatch.setattr(on_disk, "UNCHECKED_BYTES", 0)
    monkeypatch.setattr(on_disk, "free_bytes", lambda _: 5 * 20 * 90)
    with pytest.raises(
        UserError, match=r"^\d+ images are wanted at once, which takes .* but .* real images in batches"
    ):
        Herding(ipc=1).images(toy_task(data=data))
    assert len(RandomReal(ipc=1).images(toy_task(data=data))) == 3


@pytest.fixture
def zeros(tmp_path: Path) -> OnDisk:
    """Black images of 64 MiB in all."""
    path, shape = tmp_path / "zeros", (2**14, 1, 2**6, 2**6)
    with path.open("wb") as file:
        file.truncate(2**26)
    return OnDisk(pixels=np.memmap(path, np.uint8, "r", shape=shape), index=torch.arange(2**14))


def test_reading_all_images_keeps_none_of_them_in_memory(zeros):
    if not hasattr(zeros.pixels.base, "madvise"):
        pytest.skip("this system does not give memory maps back")
    before = psutil.Process().memory_info().rss
    assert sum(int(piece.max()) for piece in zeros.split(64)) == 0
    assert psutil.Process().memory_info().rss - before < 2**24


def test_what_is_computed_of_all_images_takes_one_piece_at_a_time(zeros):
    split = Split(images=zeros, labels=torch.arange(2**14) % 2)
    for compute in (lambda: split.sha256, lambda: statistics(split.images), lambda: first_of(split.images)):
        tracemalloc.start()
        compute()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2**24


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_large_array_in_a_file_is_mapped_and_not_read(tmp_path, arrays, monkeypatch, order):
    monkeypatch.setattr(files, "LARGE_BYTES", 1000)
    np.savez(tmp_path / "mine.npz", x=np.asarray(arrays[0], order=order), y=arrays[1])
    found = files.arrays_in(tmp_path / "mine.npz")
    assert isinstance(found["x"], np.memmap)
    assert np.array_equal(found["x"], arrays[0])
    memory, disk = (load_data(tmp_path / "mine.npz", store=store) for store in ("memory", "disk"))
    assert disk.sha256 == memory.sha256 == load_data(arrays).sha256
    np.savez(tmp_path / "objects.npz", x=np.array([[{}] * 300], dtype=object), y=arrays[1])
    with pytest.raises(UserError, match=r"cannot read the arrays in .*objects\.npz"):
        files.arrays_in(tmp_path / "objects.npz")


def test_images_of_any_number_of_channels_stay_on_disk():
    arrays = DRAW.integers(256, size=(30, 5, 4, 4), dtype=np.uint8), np.arange(30) % 2
    memory, disk = (load_data(arrays, store=store) for store in STORES)
    assert disk.shape == (5, 4, 4)
    assert disk.sha256 == memory.sha256


@pytest.mark.usefixtures("cache")
def test_a_table_is_read_as_it_is_in_memory(tmp_path, folder, monkeypatch):
    import pyarrow as pa
    import pyarrow.parquet

    from datastill.data import huggingface

    cells = [{"bytes": path.read_bytes(), "path": None} for path in sorted(folder.glob("*/*.png"))]
    table = pa.table({"image": cells, "label": [i % 2 for i in range(len(cells))]})
    pa.parquet.write_table(table, tmp_path / "mine.parquet")
    for large in (2**28, 10):
        monkeypatch.setattr(huggingface, "LARGE_BYTES", large)
        memory, disk = on_both(tmp_path / "mine.parquet")
        assert disk.sha256 == memory.sha256


def test_a_cache_that_cannot_be_written_is_one_line(arrays, caches, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        usage = type("Usage", (), {"free": 10})
        patch.setattr(pixel_cache.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(UserError, match=r"GiB on disk, but .* free; make room there, or set XDG_CACHE_HOME"):
            load_data(arrays, store="disk")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match=r"cannot write the cache folder .*; set XDG_CACHE_HOME"):
        load_data(arrays, store="disk")


def test_what_is_kept_about_images_says_what_they_are(folder, caches):
    load_data(folder, skip_unreadable=True, store="disk")
    about = json.loads(next(caches.glob("*/about.json")).read_text())
    assert about["shape"] == [25, 3, 9, 8]
    assert about["left_out"] == [24]
