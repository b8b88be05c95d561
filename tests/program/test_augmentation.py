"""Augmentations: invariances, shared draws, derivatives, and equal changes for a stack of networks."""

from functools import partial

import pytest
import torch

from datastill.errors import UserError
from datastill.program import AUGMENTATIONS, Augmentation, ShiftFlip, Siamese
from datastill.program import siamese as ops

SHAPE = (3, 8, 10)
IMAGES = torch.randn(4, *SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
ONE, ZERO = torch.ones(1, 1, 1, 1).double(), torch.zeros(1, 1, 1, 1).double()
EVERY: dict[str, Augmentation] = {name: each for name, each in AUGMENTATIONS.items() if each} | {
    f"{name} alone": Siamese(operations=(name,)) for name in ops.ALL
}
EVERY |= {"all": Siamese(one=False), "all, each": Siamese(one=False, shared=False)}
every = pytest.mark.parametrize("augmentation", EVERY.values(), ids=EVERY)


def stream(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every
def test_a_draw_is_one_fixed_change_of_images_of_any_precision(augmentation):
    for seed in range(12):
        draw = augmentation.draw(4, SHAPE, stream(seed))
        found = draw(IMAGES)
        assert found.shape == IMAGES.shape
        assert torch.equal(found, draw(IMAGES))
        assert torch.equal(found, augmentation.draw(4, SHAPE, stream(seed))(IMAGES))
        assert draw(IMAGES.float()).dtype == torch.float32
        torch.testing.assert_close(draw(IMAGES.float()).double(), found, rtol=1e-4, atol=1e-4)


@every
def test_other_seeds_give_other_images(augmentation):
    found = [augmentation.draw(4, SHAPE, stream(seed))(IMAGES) for seed in range(12)]
    assert any(not torch.equal(one, found[0]) for one in found)


@every
def test_a_stack_of_networks_gets_what_each_network_alone_gets(augmentation):
    stack = torch.stack([IMAGES, 2 * IMAGES, IMAGES.flip(0)])
    for seed in range(6):
        draw = augmentation.draw(4, SHAPE, stream(seed))
        torch.testing.assert_close(draw(stack), torch.stack([draw(each) for each in stack]))


@every
def test_the_derivative_is_the_central_difference(augmentation):
    along, weights = (torch.randn(IMAGES.shape, generator=stream(seed)).double() for seed in (1, 2))
    for seed in range(6):
        draw = augmentation.draw(4, SHAPE, stream(seed))
        images = IMAGES.clone().requires_grad_()
        (gradient,) = torch.autograd.grad((draw(images) * weights).sum(), images)
        plus, minus = ((draw(IMAGES + h * along) * weights).sum() for h in (1e-3, -1e-3))
        torch.testing.assert_close((gradient * along).sum(), (plus - minus) / 2e-3, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("one", [True, False])
def test_a_shared_draw_changes_real_and_synthetic_batches_alike_whatever_their_sizes(one):
    real = torch.cat([IMAGES, IMAGES[:1].expand(5, -1, -1, -1)])
    for seed in range(12):
        draw = Siamese(one=one).draw(4, SHAPE, stream(seed))
        torch.testing.assert_close(draw(real)[:4], draw(IMAGES))
        torch.testing.assert_close(draw(real)[4:], draw(IMAGES[:1]).expand(5, -1, -1, -1))


def test_images_with_their_own_numbers_cannot_be_more_or_fewer_than_these():
    for augmentation in (Siamese(shared=False), ShiftFlip()):
        with pytest.raises(UserError, match="drawn for 4 images, each with its own numbers, but is applied to 2"):
            augmentation.draw(4, SHAPE, stream(0))(IMAGES[:2])


def test_images_with_their_own_numbers_change_differently():
    equal = IMAGES[:1].expand(4, -1, -1, -1)
    for name in ("colour", "crop", "cutout", "scale", "rotate"):
        found = Siamese(operations=(name,), shared=False).draw(4, SHAPE, stream(0))(equal)
        assert not torch.equal(found, found.flip(0)), name


NOTHING = {
    "brightness": partial(ops.brightness, amount=ZERO),
    "saturation": partial(ops.saturation, factor=ONE),
    "contrast": partial(ops.contrast, factor=ONE),
    "crop": partial(ops.crop, down=ZERO.long(), right=ZERO.long()),
    "flip": partial(ops.flip, mirrored=ZERO.bool()),
    "flip twice": lambda images: ops.flip(ops.flip(images, ONE.bool()), ONE.bool()),
    "scale": partial(ops.scale, vertical=ONE, horizontal=ONE),
    "rotate": partial(ops.rotate, degrees=ZERO),
    "rotate once around": partial(ops.rotate, degrees=360 * ONE),
}


@pytest.mark.parametrize("change", NOTHING.values(), ids=NOTHING)
def test_numbers_of_no_change_change_nothing(change):
    torch.testing.assert_close(change(IMAGES), IMAGES)


def test_changes_are_their_definitions():
    grey = IMAGES.mean(1, keepdim=True).expand(-1, 3, -1, -1)
    torch.testing.assert_close(ops.brightness(IMAGES, 0.3 * ONE), IMAGES + 0.3)
    torch.testing.assert_close(ops.saturation(IMAGES, ZERO), grey)
    torch.testing.assert_close(ops.saturation(grey, 1.7 * ONE), grey)
    torch.testing.assert_close(ops.contrast(IMAGES, ZERO), IMAGES.mean((1, 2, 3), keepdim=True).expand_as(IMAGES))
    assert torch.equal(ops.flip(IMAGES, ONE.bool()), IMAGES.flip(3))
    square = IMAGES[..., :8]
    torch.testing.assert_close(ops.rotate(square, 90 * ONE), square.rot90(1, (2, 3)))
    torch.testing.assert_close(ops.rotate(IMAGES, 180 * ONE), IMAGES.flip(2, 3))


def test_a_crop_moves_by_whole_pixels_and_fills_with_zeros():
    found = ops.crop(IMAGES, 2 * ONE.long(), -3 * ONE.long())
    assert torch.equal(found[..., :6, 3:], IMAGES[..., 2:, :-3])
    assert not found[..., 6:, :].any()
    assert not found[..., :3].any()


def test_a_hole_is_half_as_high_and_wide_as_the_image():
    found = ops.cutout(torch.ones(1, 1, 8, 10), 4 * ONE.long(), 5 * ONE.long())
    assert (found == 0).sum() == 4 * 5
    assert not found[0, 0, 2:6, 3:8].any()


def test_twice_as_large_content_is_seen_through_half_the_frame():
    ramp = torch.linspace(-1, 1, 9).expand(1, 1, 9, 9).double()
    found = ops.scale(ramp, ONE, 0.5 * ONE)  # bilinear interpolation is exact for a ramp
    torch.testing.assert_close(found[..., 1:-1], ramp[..., 1:-1] / 2)


def test_a_rotation_keeps_the_proportions_of_images_that_are_not_square():
    y, x = torch.meshgrid(torch.arange(41) - 20.0, torch.arange(61) - 30.0, indexing="ij")
    disc = (-(x.square() + y.square()) / 50).exp()[None, None].double()
    torch.testing.assert_close(ops.rotate(disc, 30 * ONE), disc, rtol=0, atol=0.02)


@pytest.mark.parametrize("augmentation", [AUGMENTATIONS["siamese-no-flip"], AUGMENTATIONS["shift"]], ids=str)
def test_digits_are_not_mirrored(augmentation):
    ramp = torch.arange(10.0).expand(1, 1, 8, 10)
    for seed in range(100):
        found = augmentation.draw(1, (1, 8, 10), stream(seed))(ramp)[0, 0, 4]
        assert found[6] > found[3] or not found[3:7].all(), "rising, unless there is a hole"


def test_one_operation_is_drawn_for_a_batch_and_each_comes_equally_often():
    names = [Siamese().draw(1, SHAPE, stream(seed)).changes for seed in range(600)]
    first = [changes[0].func.__name__ for changes in names]
    for name in ("brightness", "crop", "cutout", "flip", "scale", "rotate"):
        assert 60 < first.count(name) < 140
    assert {len(changes) for changes in names} == {1, 3}
    assert len(Siamese(one=False).draw(1, SHAPE, stream(0)).changes) == 8


def test_numbers_are_within_the_ranges_of_the_paper():
    for seed in range(100):
        for change in Siamese(one=False).draw(1, SHAPE, stream(seed)).changes:
            for key, value in change.keywords.items():
                low, high = RANGES[change.func.__name__]
                assert low <= float(value) <= high, key


RANGES = {
    "brightness": (-0.5, 0.5),
    "saturation": (0, 2),
    "contrast": (0.5, 1.5),
    "crop": (-1, 1),
    "cutout": (0, 9),
    "flip": (0, 1),
    "scale": (1 / 1.2, 1.2),
    "rotate": (-15, 15),
}


@pytest.mark.parametrize("operations", [(), ("blur",)])
def test_operations_that_do_not_exist_are_refused(operations):
    with pytest.raises(UserError, match="operation"):
        Siamese(operations=operations)


class TestShiftFlip:
    """Images moved and mirrored, each for itself."""

    images = torch.arange(2 * 3 * 16 * 17).float().view(2, 3, 16, 17)

    def changed(self, images, *, flip):
        return ShiftFlip(flip=flip).draw(len(images), tuple(images.shape[1:]), stream(0))(images)

    def test_a_shift_moves_all_that_stays_within_the_frame(self):
        moved = self.changed(self.images[:1].expand(40, -1, -1, -1), flip=False)
        inner = self.images[0, :, 2:-2, 2:-2]
        seen = set()
        for image in moved:
            at = [(y, x) for y in range(5) for x in range(5) if torch.equal(image[:, y : y + 12, x : x + 13], inner)]
            assert len(at) == 1
            seen.add(at[0])
        assert len(seen) > 15, "of 25, each image moves by itself"

    def test_the_pixels_of_the_border_are_repeated(self):
        for image in self.changed(self.images[:1].expand(40, -1, -1, -1), flip=False):
            assert set(image.unique().tolist()) <= set(self.images[0].unique().tolist())
            rows = image[0].diff(dim=0)
            assert set(rows.unique().tolist()) <= {0.0, 17.0}

    def test_a_flip_mirrors_half_of_them(self):
        ramp = self.images[:1, :, :1, :].expand(200, -1, 16, -1)
        rising = self.changed(ramp, flip=True).diff(dim=3).sum((1, 2, 3)) > 0
        assert 70 < int(rising.sum()) < 130
