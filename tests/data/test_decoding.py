"""Image files: what cannot be read is named by its path, what is large is made smaller, nothing hostile is opened."""

import struct
import tracemalloc
import zlib
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from datastill.data import DataSettings, decoding, load_data
from datastill.data.decoding import decode
from datastill.data.images import Reading, resize
from datastill.errors import UserError

DRAW = np.random.default_rng(0)
SMALL = Image.fromarray(DRAW.integers(256, size=(4, 4), dtype=np.uint8))


def encoded(image, form="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def bomb(side):
    """A PNG of side x side black pixels of one bit each, in some kilobytes."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def commented():
    """A PNG with a comment that unpacks to more than PIL takes."""
    info = PngImagePlugin.PngInfo()
    info.add_text("comment", "x" * 2_000_000, zip=True)
    return encoded(SMALL, pnginfo=info)


BROKEN = {
    "map.png": (bomb(10_000), "more than the 89 million pixels"),
    "scan.png": (bomb(15_000), "more than the 89 million pixels"),
    "comment.png": (commented(), "decompressed data too large"),
    "broken.ppm": (b"P6\n8 8x\n255\n" + bytes(192), ""),
    "empty.png": (b"", "empty"),
    "page.jpg": (b"<html>404</html>", "not one of the formats PNG, JPEG"),
    "cut.png": (encoded(SMALL)[:60], ""),
    "drawing.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not one of the formats"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_unreadable_file_is_named_by_its_path(tmp_path, name):
    content, reason = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(
        UserError, match=r"^1 of 2 images of here cannot be read: /.*; mend or remove them, or"
    ) as caught:
        decode([encoded(SMALL), str(path)], "here", Reading(side=8))
    assert f"{path} (" in str(caught.value)
    assert reason.lower() in str(caught.value).lower()  # Pillow has changed its capitals
    assert "\n" not in str(caught.value)


def test_a_postscript_file_reaches_no_other_program(monkeypatch):
    def fail(*args, **kwargs):
        pytest.fail("another program was called")

    monkeypatch.setattr("subprocess.Popen", fail)
    eps = encoded(Image.fromarray(DRAW.integers(256, size=(4, 4, 3), dtype=np.uint8)), "EPS")
    with pytest.raises(UserError, match="not one of the formats"):
        decode([eps], "here")


def test_all_unreadable_ones_are_counted_and_the_first_listed_or_skipped(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(decoding, "say", said.append)
    items = [encoded(SMALL) if i % 2 else b"broken" for i in range(600)]
    with pytest.raises(UserError, match=r"^300 of 600 images of here cannot be read: image 0 of .* and 290 more; "):
        decode(items, "here")
    found = decode(items, "here", Reading(skip_unreadable=True))
    assert found.kept.tolist() == list(range(1, 600, 2))
    assert len(found.images) == 300
    assert len(said) == 1
    assert said[0].startswith("skipped: 300 of 600 images of here")
    with pytest.raises(UserError, match=r"there is no image left$"):
        decode([b"broken"], "here", Reading(skip_unreadable=True))


def test_skipped_images_take_their_labels_with_them(tmp_path):
    levels = iter(range(16))
    for split, name, i in ((s, n, i) for n in ("cat", "dog") for s in ("train", "test") for i in range(4)):
        path = tmp_path / split / name / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4), next(levels), np.uint8)).save(path)
    (tmp_path / "test" / "cat" / "0.png").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"test/cat/0\.png .* or set skip_unreadable of the real data"):
        load_data(tmp_path)
    test = load_data(DataSettings(name=str(tmp_path), skip_unreadable=True)).test
    assert ((test.images[:, 0, 0, 0] >= 8).long() == test.labels).all()
    assert len(test) == 7


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
def test_large_images_are_made_smaller_one_by_one(monkeypatch, form):
    monkeypatch.setattr(decoding, "SHRINK_ABOVE", 2**14)
    pixels = np.asarray(Image.fromarray(DRAW.integers(256, size=(8, 8, 3), dtype=np.uint8)).resize((400, 300)))
    item = encoded(Image.fromarray(pixels), form, **({"quality": 95} if form == "JPEG" else {}))
    sizes = []
    monkeypatch.setattr(
        decoding, "resize", lambda images, *rest: sizes.append(images.shape[2:]) or resize(images, *rest)
    )
    found = decode([item] * 3, "here", Reading(side=8)).images
    assert all(min(size) < 64 for size in sizes), "not resized from the full size"
    exact = resize(torch.tensor(pixels).permute(2, 0, 1)[None], 8)
    assert (found[0].float() - exact[0].float()).abs().max() <= (12 if form == "JPEG" else 6)


def test_large_images_are_not_kept_at_their_size(tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(encoded(Image.new("1", (4000, 3000))))
    with pytest.raises(UserError, match=r"^/.*photo\.png has 4000x3000 pixels, too many to keep; set resize to"):
        decode([str(path)], "here", Reading(skip_unreadable=True))


def test_memory_stays_within_its_bound():
    item = encoded(Image.fromarray(np.zeros((1500, 2000, 3), np.uint8)), "JPEG")
    decode([item], "here", Reading(side=8))
    tracemalloc.start()
    decode([item] * 40, "here", Reading(side=8))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 50e6, "forty at their full size are 360 MB"


@pytest.mark.parametrize("turned", [False, True])
def test_images_that_are_not_square_are_cropped_or_padded(turned):
    images = torch.tensor(DRAW.integers(256, size=(2, 1, 10, 6), dtype=np.uint8))
    turn = (lambda x: x.transpose(2, 3)) if turned else (lambda x: x)
    assert torch.equal(turn(resize(turn(images), 6, "crop")), images[:, :, 2:8])
    padded = turn(resize(turn(images), 10, "pad"))
    assert torch.equal(padded[..., 2:8], images)
    assert padded.sum() == images.sum(), "the borders are black"


def test_fit_without_a_size_is_refused():
    with pytest.raises(UserError, match=r"^fit is 'crop', but .*; give resize"):
        DataSettings(fit="crop")


@pytest.mark.parametrize("settings", [{"resize": 100_000}, {"pad": 800}, {"resize": 0}])
def test_sizes_have_bounds(settings):
    with pytest.raises(UserError, match=r"must be from \d to \d+ pixels"):
        load_data("digits", **settings)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "BMP", "GIF", "TIFF", "PPM", "WEBP"])
def test_mutated_files_are_images_or_one_line(tmp_path, form):
    draw, path = np.random.default_rng(1), tmp_path / "mutated.png"
    good = encoded(Image.fromarray(draw.integers(256, size=(9, 7, 3), dtype=np.uint8)), form)
    for _ in range(60):
        content = np.frombuffer(good, np.uint8).copy()
        where = draw.integers(min(len(content), draw.choice([30, 200, len(content)])), size=draw.integers(1, 6))
        content[where] = draw.choice([0, 255, draw.integers(256)], size=len(where))
        path.write_bytes(content.tobytes()[: draw.choice([len(content), draw.integers(len(content))], p=[0.8, 0.2])])
        assert outcome(path) in ("an image", "one line")


def outcome(path):
    """What reading a file ends in."""
    try:
        decode([str(path)], "here", Reading(side=4))
    except UserError as error:
        return "one line" if str(path) in str(error) and "\n" not in str(error) else str(error)
    return "an image"
