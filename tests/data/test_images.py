"""Images: every kind becomes the same bytes."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from datastill.data.arrays import from_array
from datastill.data.decoding import decode
from datastill.data.images import Reading, convert, match, must_be_converted, resize
from datastill.errors import UserError

DRAW = np.random.default_rng(0)
RGB = DRAW.integers(0, 256, (7, 5, 3), dtype=np.uint8)
GREY = RGB[..., 0]


def encoded(image, form="PNG", **options):
    buffer = BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def read(*images, side=None):
    items = [encoded(image) if isinstance(image, Image.Image) else image for image in images]
    return decode(items, "here", Reading(side=side)).images


def chw(array):
    return torch.tensor(array).permute(2, 0, 1) if array.ndim == 3 else torch.tensor(array)[None]


def test_grey_and_rgb_are_read_as_they_are():
    assert torch.equal(read(Image.fromarray(GREY))[0], chw(GREY))
    assert torch.equal(read(Image.fromarray(RGB))[0], chw(RGB))


def test_a_mixture_is_rgb():
    images = read(Image.fromarray(GREY), Image.fromarray(RGB))
    assert torch.equal(images[0], chw(GREY).expand(3, -1, -1))
    assert torch.equal(images[1], chw(RGB))


def test_a_mixture_over_many_chunks_keeps_its_order():
    images = [Image.fromarray(np.full((2, 2), i % 250, np.uint8)) for i in range(600)]
    images[300] = Image.fromarray(np.full((2, 2, 3), 9, np.uint8))
    pixels = decode(images, "here").images
    assert pixels.shape == (600, 3, 2, 2)
    assert pixels[:, 0, 0, 0].tolist() == [9 if i == 300 else i % 250 for i in range(600)]


def test_palette_alpha_and_bilevel():
    palette = Image.fromarray(RGB).quantize(16)
    assert torch.equal(read(palette)[0], chw(np.asarray(palette.convert("RGB"))))
    alpha = Image.fromarray(np.dstack([RGB, np.full((7, 5), 200, np.uint8)]))
    assert alpha.mode == "RGBA"
    assert torch.equal(read(alpha)[0], chw(RGB))
    bilevel = Image.fromarray((GREY > 127).astype(np.uint8) * 255).convert("1")
    assert torch.equal(read(bilevel)[0], chw((GREY > 127).astype(np.uint8) * 255))


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency_does_not_warn():
    palette = Image.fromarray(RGB).quantize(16)
    item = encoded(palette, transparency=bytes([0, 128] + [255] * 14))
    assert torch.equal(decode([item], "here").images[0], chw(np.asarray(palette.convert("RGB"))))


def test_a_height_of_three_is_not_taken_for_channels():
    assert torch.equal(read(Image.fromarray(RGB[:3]))[0], chw(RGB[:3]))


def test_16_bits_are_scaled_not_clipped():
    levels = np.array([[0, 257, 32896, 65535]], np.uint16)
    assert read(Image.fromarray(levels))[0, 0].tolist() == [[0, 1, 128, 255]]
    assert decode([Image.fromarray(levels.astype(np.int32))], "here").images[0, 0].tolist() == [[0, 1, 128, 255]]


def test_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees to the right
    item = encoded(Image.fromarray(RGB), exif=exif)
    assert torch.equal(decode([item], "here").images[0], chw(np.rot90(RGB, -1).copy()))


def test_more_than_16_bits_is_an_error():
    for image in (Image.fromarray(np.full((2, 2), 70000, np.int32)), Image.fromarray(np.zeros((2, 2), np.float32))):
        with pytest.raises(
            UserError, match=r"^1 of 1 images of here .*pixels of more than 16 bits.*: save it with 8 or 16"
        ):
            decode([image], "here")


def test_different_sizes_need_resize():
    images = Image.fromarray(RGB), Image.fromarray(RGB[:4])
    with pytest.raises(UserError, match=r"different sizes, e\.g\. 7x5 and 4x5 \(height x width\); give them one"):
        read(*images)
    assert read(*images, side=3).shape == (2, 3, 3, 3)
    with pytest.raises(UserError, match="different sizes"):
        match([torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 3, 3)])


def test_resizing_one_by_one_or_together_is_the_same():
    images = torch.tensor(DRAW.integers(0, 256, (600, 3, 9, 7), dtype=np.uint8))
    together = resize(images, 4)
    assert together.dtype == torch.uint8
    assert torch.equal(together, torch.cat([resize(image[None], 4) for image in images]))


def test_resizing_keeps_constants_and_averages_blocks():
    assert torch.equal(resize(torch.full((2, 1, 9, 6), 77, dtype=torch.uint8), 4), torch.full((2, 1, 4, 4), 77))
    half = resize(torch.tensor([[0, 200]] * 2, dtype=torch.uint8).repeat(1, 8)[None, None].repeat(1, 1, 8, 1), 2)
    assert (half.float() - 100).abs().max() <= 5  # stripes alias to 0 or 200 without antialias


def test_resizing_to_the_same_size_changes_nothing():
    images = from_array(RGB[None, :5], "here")
    assert resize(images, 5) is images
    assert resize(images, None) is images


def test_grey_is_what_pil_calls_grey():
    images = DRAW.integers(0, 256, (300, 4, 4, 3), dtype=np.uint8)
    grey = convert(from_array(images, "here"), "grey")
    expected = np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in images])
    assert np.array_equal(grey[:, 0].numpy(), expected)


def test_colour_of_grey_and_back_is_identity():
    grey = from_array(GREY[None], "here")
    colour = convert(grey, "colour")
    assert colour.shape == (1, 3, 7, 5)
    assert torch.equal(convert(colour, "grey"), grey)
    assert convert(colour, "keep") is colour


@pytest.mark.parametrize("kind", ["uint8", "int64", "float32", "float64", "float16", "torch", "bfloat16"])
def test_every_kind_of_number_gives_the_same_bytes(kind):
    levels = np.array([0, 51, 102, 255], np.uint8).reshape(1, 2, 2)
    images = {
        "torch": torch.tensor(levels),
        "bfloat16": torch.tensor(levels / 255, dtype=torch.bfloat16, requires_grad=True),
    }.get(kind)
    if images is None:
        images = (levels / 255 if kind.startswith("float") else levels).astype(kind)
    assert torch.equal(from_array(images, "here")[0, 0], torch.tensor(levels[0]))


def test_layouts():
    images = DRAW.integers(0, 256, (2, 6, 5, 3), dtype=np.uint8)
    first = from_array(images.transpose(0, 3, 1, 2), "here")
    assert torch.equal(from_array(images, "here"), first)
    assert first.shape == (2, 3, 6, 5)
    assert torch.equal(from_array(images[..., 0], "here"), from_array(images[..., :1], "here"))


@pytest.mark.parametrize(
    ("shape", "channels"),
    [
        ((2, 5, 9, 9), 5),
        ((2, 9, 9, 5), 5),
        ((2, 200, 9, 9), 200),
        ((2, 9, 9, 200), 200),
        ((2, 2, 9, 12), 2),
        ((2, 9, 12, 2), 2),
        ((2, 3, 3, 5), 3),
        ((2, 5, 3, 3), 3),
        ((2, 7, 7, 7), 7),
    ],
)
def test_channels_are_found_by_their_number_and_by_square_images(shape, channels):
    images = DRAW.integers(0, 256, shape, dtype=np.uint8)
    found = from_array(images, "here")
    first = found.shape == images.shape
    assert found.shape[1] == channels
    assert torch.equal(found, torch.tensor(images if first else images.transpose(0, 3, 1, 2)))


def test_images_with_other_channels_are_neither_joined_nor_converted():
    five = torch.zeros(1, 5, 4, 4, dtype=torch.uint8)
    with pytest.raises(UserError, match="some images have 3 channels, others 5; give all images equal ones"):
        match([five, five[:, :3]])
    with pytest.raises(UserError, match="channels is 'grey', but the images have 5 channels, and only images with 1"):
        must_be_converted(five, "grey")
    must_be_converted(five[:, :3], "grey")


def test_the_array_of_the_user_is_copied():
    images = np.zeros((1, 2, 2), np.uint8)
    pixels = from_array(images, "here")
    images[:] = 9
    assert pixels.sum() == 0


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((4, 64), np.uint8), r"shape \(4, 64\), but must be \(n, h, w\)"),
        (np.zeros((4, 8, 8, 8, 1), np.uint8), r"shape \(4, 8, 8, 8, 1\), but must be \(n, h, w\), \(n, c, h, w\) or"),
        (np.zeros((0, 8, 8), np.uint8), r"has no images: shape \(0, 8, 8\)"),
        (np.full((2, 8, 8), 16.0), r"values from 16 to 16, but floats must be in \[0, 1\]"),
        (np.full((2, 8, 8), -1.0), r"values from -1 to -1, but floats must be in \[0, 1\]"),
        (np.full((2, 8, 8), np.nan), "values from nan to nan, but floats"),
        (np.full((2, 8, 8), 256), r"values from 256 to 256, but integers must be in 0\.\.255"),
        (np.zeros((2, 8, 8), bool), "are bool, but must be uint8"),
    ],
)
def test_arrays_that_are_not_images(images, message):
    with pytest.raises(UserError, match=message):
        from_array(images, "here")


def test_values_halfway_between_two_levels_are_rounded_up_on_every_processor() -> None:
    """In float32 the order of the additions, which differs by processor, decides how such a value is rounded."""
    corners = torch.tensor([[0, 1], [1, 0]], dtype=torch.uint8)
    halves = corners + torch.arange(254, dtype=torch.uint8)[:, None, None, None]  # the mean of image k is k + 1/2
    assert resize(halves, 1).flatten().tolist() == list(range(1, 255))
