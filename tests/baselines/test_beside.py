"""Baselines beside a set: its size, its program, or one that is chosen on validation images."""

from dataclasses import replace

import torch

from datastill.baselines import Beside
from datastill.config import Config, from_dict
from datastill.data import RealData, load_data
from datastill.evaluation import Grid, Protocol, score, tuned
from datastill.making import make
from datastill.methods.selection import Average, KMeans, RandomReal
from datastill.program import AUGMENTATIONS, PROGRAMS, Shuffled, as_plain

from ..toys import toy_data, toy_set

DATA = toy_data()
TUNE = Grid(step_sizes=(0.01, 0.3), epochs=(1, 3), networks=2)


def beside(data: RealData = DATA) -> Beside:
    return Beside(
        config=Config(data=data.settings, network="mlp(width=8,depth=1)", tune=TUNE), data=data, ipc=4, steps=2
    )


def test_a_baseline_has_the_size_of_the_set_and_teaches() -> None:
    made = beside().made(KMeans())
    assert (made.size, made.batches, made.header.method) == (12, 2, "k-means")
    assert len(made.step_sizes.unique()) == 1
    assert score(made, DATA, Protocol(networks=5)).mean > 0.5


def test_it_can_be_made_again_from_its_header() -> None:
    made = beside().made(RandomReal(ipc=4, steps=2), seed=3)
    again = make(from_dict(made.header.config), DATA)
    assert torch.equal(made.inputs, again.inputs)
    assert torch.equal(made.step_sizes, again.step_sizes)


def test_the_average_serves_every_step() -> None:
    made = beside().made(Average())
    assert made.size == 3, "not four of each: one is stored, and taken again"
    assert len(made.step_sizes) in (2, 6), "as many gradient steps as the others: epochs of the grid x steps"


def test_a_step_size_is_chosen_without_the_test_split() -> None:
    worthless = load_data(
        {
            "train": (DATA.train.images.numpy(), DATA.train.labels.numpy()),
            "validation": (DATA.validation.images.numpy(), DATA.validation.labels.numpy()),
            "test": (255 - DATA.test.images.numpy(), DATA.test.labels.flip(0).numpy()),
        }
    )
    one, other = (beside(data).made(RandomReal(ipc=4, steps=2)) for data in (DATA, worthless))
    assert torch.equal(one.step_sizes, other.step_sizes)


def test_the_step_size_that_validates_best_is_chosen() -> None:
    plain = beside().made(RandomReal(ipc=4, steps=2), tune=False)
    grid = Grid(step_sizes=(1e-6, 0.3), epochs=(1, 3), networks=3, images=48)
    chosen = tuned(plain, DATA, Protocol(), grid)
    means = {
        (size, epochs): score(
            plain, DATA, Protocol(networks=3, step_size=size, epochs=epochs), split="validation", images=48
        ).mean
        for size in grid.step_sizes
        for epochs in grid.epochs
    }
    assert means[chosen.step_size, chosen.epochs] == max(means.values())
    assert chosen.networks == Protocol().networks, "the number of networks of the choice does not leak"


def test_beside_a_set_of_shuffled_batches_a_baseline_has_its_program() -> None:
    program = replace(PROGRAMS["shuffled-300"], order=Shuffled(epochs=3, batch=4), augmentation=AUGMENTATIONS["shift"])
    like = toy_set(DATA).with_program(program)
    shared = Beside.of(like, DATA)
    made = shared.made(RandomReal())
    assert as_plain(made.program) == as_plain(program)
    assert made.size == like.size
    assert score(made, DATA, Protocol(networks=2)).protocol["augmentation"] == "shift"
