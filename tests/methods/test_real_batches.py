"""Representative real batches: equal shares of classes and of clusters, that follow from the seed alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from datastill import UserError, load_data
from datastill.data import RealData
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.methods.real_batches import clusters_of, real_batches, representative
from datastill.training import PLAIN, Unroll

from ..toys import toy_data, toy_task, unrolled

BRIGHT = (20, 120, 220)
"""The grey levels of the three groups of images in each class of `grouped`."""


def grouped() -> RealData:
    """Two classes of images in three groups of 60, 30 and 6 images, each with its own grey level."""
    draw = torch.Generator().manual_seed(0)
    levels = torch.tensor(BRIGHT).repeat_interleave(torch.tensor([60, 30, 6])).repeat(2)
    images = levels.view(-1, 1, 1, 1) + torch.randint(-8, 9, (len(levels), 1, 4, 4), generator=draw)
    labels = torch.arange(2).repeat_interleave(96)
    splits = {"train": (images.byte(), labels), "test": (images[::9].byte() + 1, labels[::9])}
    splits["validation"] = (images[::7].byte() + 2, labels[::7])
    return load_data(splits, name="grouped")


GROUPED = grouped()


def groups_in(images: torch.Tensor) -> list[int]:
    """How many images of a batch are of each group."""
    levels = 255 * GROUPED.denormalise(images).flatten(1).mean(1)
    nearest = (levels[:, None] - torch.tensor(BRIGHT)).abs().argmin(1)
    return nearest.bincount(minlength=3).tolist()


def test_a_batch_holds_an_equal_share_of_each_cluster_of_each_class_however_large_it_is() -> None:
    images, labels = real_batches(toy_task(data=GROUPED), 0, range(3), 24, clusters=3)
    for batch, classes in zip(images, labels, strict=True):
        assert all(groups_in(batch[classes == label]) == [4, 4, 4] for label in range(2))
    assert not torch.equal(images[0], images[1])


def test_shares_that_are_no_whole_numbers_differ_by_one_and_change_from_batch_to_batch() -> None:
    images, labels = real_batches(toy_task(data=GROUPED), 0, range(40), 9, clusters=3)
    of_classes = torch.stack([each.bincount() for each in labels])
    assert (of_classes.sort(1).values == torch.tensor([4, 5])).all()
    found = torch.tensor([groups_in(batch[classes == 0]) for batch, classes in zip(images, labels, strict=True)])
    assert set((found.amax(1) - found.amin(1)).tolist()) == {1}
    assert (found.float().mean(0) - 1.5).abs().max() < 0.3  # no cluster is favoured
    assert of_classes.float().mean(0).sub(4.5).abs().max() < 0.25


def test_every_example_is_drawn_equally_often_as_others_of_its_cluster_and_twice_only_if_it_must() -> None:
    clusters = [[np.arange(6), np.arange(6, 8)], [np.arange(8, 20)]]
    drawn = [representative(clusters, 16, np.random.default_rng(i)) for i in range(300)]
    counts = np.stack([np.bincount(each, minlength=20) for each in drawn])
    assert (counts[:, :6].sum(1) == 4).all()
    assert (counts[:, 6:8].sum(1) == 4).all()
    assert counts[:, :6].max() == counts[:, 8:].max() == 1
    assert (counts[:, 6:8] >= 1).all()
    for cluster, each in ((slice(0, 6), 4 / 6), (slice(6, 8), 2), (slice(8, 20), 8 / 12)):
        assert np.abs(counts[:, cluster].mean(0) - each).max() < 0.12


def test_one_cluster_is_the_whole_class() -> None:
    (one, two) = clusters_of(GROUPED, 1, seed=0)
    assert np.array_equal(one[0], np.arange(96))
    assert np.array_equal(two[0], np.arange(96, 192))


def test_clusters_divide_each_class_and_follow_from_the_seed() -> None:
    data = toy_data()
    first, again, other = (clusters_of(data, 4, seed) for seed in (0, 0, 1))
    for label, (one, two) in enumerate(zip(first, again, strict=True)):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
        members = (data.train.labels == label).nonzero()[:, 0].numpy()
        assert np.array_equal(np.sort(np.concatenate(one)), members)
    assert any(not np.array_equal(a, b) for a, b in zip(first[0], other[0], strict=False))


def test_a_network_has_an_equal_batch_in_every_process_and_after_every_start() -> None:
    both = real_batches(toy_task(), 5, range(2), 20, clusters=3)
    for i in range(2):
        alone = real_batches(toy_task(), 5, range(i, i + 1), 20, clusters=3)
        assert all(torch.equal(a[i : i + 1], b) for a, b in zip(both, alone, strict=True))
    assert not torch.equal(both[0], real_batches(toy_task(), 6, range(2), 20, clusters=3)[0])


def test_the_method_learns_with_them_and_plans_without_looking_for_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    method = DatasetDistillation(
        ipc=2, steps=2, real_batch=30, real_clusters=2, unroll=Unroll(networks=2, engine=PLAIN)
    )
    task = toy_task()
    method.check(task)
    state = method.init(task)
    found = method.step(task, state, 0)
    uniform = replace(method, real_clusters=0).step(task, state, 0)
    assert found.gradients["examples"].isfinite().all()
    assert not torch.equal(found.gradients["examples"], uniform.gradients["examples"])
    one = unrolled(method, networks=1).step(toy_task(), state, 0)
    torch.testing.assert_close(found.gradients["examples"][:1], one.gradients["examples"])
    monkeypatch.setattr("datastill.methods.real_batches.clusters_of", None)
    method.trial(task).make()()


@pytest.mark.parametrize(
    ("clusters", "message"),
    [(-1, "real_clusters is -1, but must be at least 0"), (100, "but a class of 'grouped' has only 96 train images")],
)
def test_what_cannot_be_is_one_clear_line(clusters: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        DatasetDistillation(real_clusters=clusters).check(toy_task(data=GROUPED))
