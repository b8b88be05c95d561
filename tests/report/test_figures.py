import numpy as np
import pytest
import torch

from datastill.report.figures import MOST_TILES, as_bytes, banner, caption, grid, layout, shown_range

from ..sets import in_steps


def tile_of(picture, box, shape):
    """The tile in `box`, back at one pixel per image pixel; checks that each pixel became one flat square."""
    tile = np.asarray(picture.crop(box))
    rows, columns = tile.shape[0] // shape[0], tile.shape[1] // shape[1]
    squares = tile.reshape(shape[0], rows, shape[1], columns, 3)
    assert (squares == squares[:, :1, :, :1]).all()
    return squares[:, 0, :, 0]


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 8, 20)])
def test_each_tile_of_the_grid_holds_its_example(make, shape):
    distilled = make(shape=shape, labels=[[2, 0, 3, 1], [0, 1, 2, 3], [3, 2, 1, 0]])
    picture, place = grid(distilled), layout(distilled)
    for step in range(3):
        for index in range(4):
            tile = tile_of(picture, place.boxes[step, index], shape[1:])
            assert (tile == as_bytes(distilled)[step, index]).all()


def test_rows_are_steps_and_columns_are_classes(make):
    labels = [[2, 0, 3, 1], [0, 1, 2, 3], [3, 2, 1, 0]]
    distilled = make(labels=labels)
    place = layout(distilled)
    left_of_class = {label: box[0] for label, box in place.classes}
    middle_of_step = {step: box[1] for step, box in place.steps}
    assert sorted(left_of_class.values()) == [left_of_class[c] for c in range(4)]
    for (step, index), (left, top, _, _) in place.boxes.items():
        assert left == left_of_class[labels[step][index]]
        assert top == middle_of_step[step]


@pytest.mark.parametrize("soft", [False, True])
def test_a_step_with_many_of_a_class_takes_as_many_rows_and_no_two_tiles_overlap(make, soft):
    distilled = make(steps=2, labels=[[0, 0, 0, 1], [3, 1, 1, 2]], soft=soft)
    boxes = layout(distilled).boxes
    assert len(boxes) == 8
    assert [boxes[0, i][1] for i in range(3)] == sorted({boxes[0, i][1] for i in range(3)})
    assert "takes several rows" in caption(distilled)
    assert "takes several rows" not in caption(make())
    assert max(box[3] for (step, _), box in boxes.items() if step == 0) < min(
        box[1] for (step, _), box in boxes.items() if step == 1
    )
    flat = list(boxes.values())
    for number, a in enumerate(flat):
        for b in flat[:number]:
            assert a[2] <= b[0] or b[2] <= a[0] or a[3] <= b[1] or b[3] <= a[1]


def test_everything_lies_inside_the_picture(make):
    distilled = make(steps=2, classes=45, labels=[list(range(45))] * 2)
    place = layout(distilled)
    assert len(place.boxes) == 90  # 45 classes go on below the first ones
    for left, top, right, bottom in [*place.boxes.values(), *(box for _, box in place.classes + place.steps)]:
        assert 0 <= left < right <= place.size[0]
        assert 0 <= top < bottom <= place.size[1]


@pytest.mark.parametrize(("steps", "classes"), [(300, 10), (1, 1000)])
def test_a_large_set_is_cut_and_the_caption_says_how_much(make, steps, classes):
    distilled = make(steps=steps, classes=classes, shape=(1, 2, 2))
    shown = len(layout(distilled).boxes)
    assert shown == MOST_TILES
    assert f"first {MOST_TILES} of {steps * classes} examples" in caption(distilled)
    assert max(grid(distilled).size) < 6000


def test_large_images_are_shrunk_by_averaging(make):
    distilled = make(steps=1, shape=(1, 224, 224))
    box = layout(distilled).boxes[0, 0]
    assert box[2] - box[0] == 112
    tile = np.asarray(grid(distilled).crop(box)).astype(float)[:, :, 0]
    blocks = as_bytes(distilled)[0, 0, :, :, 0].reshape(112, 2, 112, 2).mean((1, 3))
    assert np.abs(tile - blocks).max() <= 1


def test_pixels_within_zero_and_one_are_shown_as_they_are(make):
    distilled = make(scale=0.1)  # 0.3 +- 0.04
    assert shown_range(distilled) == (0.0, 1.0)
    expected = (in_steps(distilled, distilled.original()) * 255).round().permute(0, 1, 3, 4, 2).numpy()
    assert (as_bytes(distilled) == expected).all()
    assert "as they are" in caption(distilled)


def test_pixels_hardly_beyond_zero_and_one_do_not_change_what_black_and_white_are(make):
    distilled = make(scale=0.1)
    distilled.inputs[:] = (torch.linspace(-0.01, 1.01, distilled.inputs.numel()).view_as(distilled.inputs) - 0.3) / 0.4
    assert shown_range(distilled) == (0.0, 1.0)
    distilled.inputs[:] *= 3
    assert shown_range(distilled) != (0.0, 1.0)


def test_pixels_beyond_are_all_shown_but_the_outermost_percent(make):
    distilled = make(scale=5.0)
    low, high = shown_range(distilled)
    pixels = distilled.original()
    assert low < 0
    assert high > 1
    assert ((pixels >= low) & (pixels <= high)).float().mean() == pytest.approx(0.99, abs=0.005)
    assert f"black is {low:.2f} and white is {high:.2f}, a range" in caption(distilled)


def test_an_example_that_is_not_a_number_is_grey_and_breaks_nothing(make):
    distilled = make(scale=0.1)
    distilled.inputs[0] = torch.nan
    assert (as_bytes(distilled)[0, 0] == 128).all()
    assert grid(distilled).size[0] > 0


@pytest.mark.parametrize("channels", [2, 5])
def test_other_numbers_of_channels_are_shown_as_their_mean(make, channels):
    distilled = make(shape=(channels, 8, 8), scale=0.1)
    mean = (in_steps(distilled, distilled.original().mean(1)) * 255).numpy()
    assert np.abs(as_bytes(distilled)[..., 0] - mean).max() <= 0.51
    assert f"mean of the {channels} channels" in caption(distilled)


@pytest.mark.parametrize(("steps", "classes"), [(1, 10), (10, 10), (30, 10), (3, 7), (1, 2)])
def test_the_banner_is_wide_and_starts_with_the_first_example(make, steps, classes):
    distilled = make(steps=steps, classes=classes)
    picture = banner(distilled)
    assert 1.9 <= picture.width / picture.height <= 7
    side = picture.height if classes == 2 else None
    first = as_bytes(distilled)[0, 0]
    side = side or next(x for x in range(1, picture.width) if (np.asarray(picture)[:, x] == 255).all())
    assert (tile_of(picture, (0, 0, side, side), (8, 8)) == first).all()
