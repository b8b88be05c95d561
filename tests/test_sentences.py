"""Sentences in the place of images: loaded, distilled, used, verified, shown and exported."""

import csv
import hashlib
import random
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from datastill import DistilledSet, Protocol, UserError, distill, load_data, score, verify
from datastill.artifact import Stored
from datastill.baselines import BASELINES, Beside
from datastill.cli import main
from datastill.data import DataSettings, RealData, TextSettings
from datastill.exporting import export
from datastill.methods import Method
from datastill.methods.distribution_matching import DistributionMatching
from datastill.methods.kernel_ridge import KernelRidge
from datastill.networks import build
from datastill.report import write_report
from datastill.run import prepare
from datastill.space import SPACE, Tokens
from datastill.space.sentences import table, vector, words_of
from datastill.training import Engine
from datastill.training.traced import traced

from .toys import toy_config, unrolled

NETWORK = "textcnn(width=32,window=3)"
TEXT = TextSettings(length=6, dim=16, words=30)
ENGINE = Engine(mode="stored", execution="eager", together=1, precision="float32")
UNROLLED = unrolled(toy_config().method, engine=ENGINE)
SUBJECTS = ("cat", "dog", "bird", "horse")
VERBS = {"place": ("where", "which town"), "person": ("who", "whose"), "number": ("how many", "how much")}


def texts(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Questions of three classes, which one word or two tell."""
    draw, labels = random.Random(seed), [list(VERBS)[i % 3] for i in range(count)]
    numbers = range(1000 * seed, 1000 * seed + count)
    each = zip(labels, numbers, strict=True)
    return [f"{draw.choice(VERBS[label])} is the {draw.choice(SUBJECTS)} {i} ?" for label, i in each], labels


@pytest.fixture(scope="module")
def data() -> RealData:
    settings = DataSettings(name="questions", in_memory=True, validation=0.25, text=TEXT)
    return load_data({"train": texts(180, 0), "test": texts(60, 1)}, **settings_of(settings))


def settings_of(settings: DataSettings) -> dict[str, Any]:
    return {"name": settings.name, "validation": settings.validation, "text": settings.text}


@pytest.fixture(scope="module")
def run(data: RealData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sentences") / "run"
    method = replace(UNROLLED, labels_rate=0.01, step_size=0.3, epochs=4, examples_rate=0.05)
    config = toy_config(network=NETWORK, data=data.settings, method=method)
    distill(replace(config, loop=replace(config.loop, iterations=12)), folder, data=data)
    return folder


# --- words and their vectors


def test_a_sentence_is_its_words_and_signs_in_small_letters() -> None:
    assert words_of("Who's the CAT, over-there?") == ["who", "'", "s", "the", "cat", ",", "over", "-", "there", "?"]


def test_vectors_of_words_have_mean_0_and_variance_1_and_are_equal_everywhere() -> None:
    drawn = np.stack([vector(f"word {i}", 64, seed=0) for i in range(500)])
    assert drawn.dtype == np.float32
    assert abs(drawn.mean()) < 0.02
    assert abs(drawn.var() - 1) < 0.02
    found = hashlib.sha256(table(("the", "cat"), 16, seed=3).astype("<f4").tobytes()).hexdigest()
    assert found == "c15bf899f063981f8aeea32d4486edd1042bc34ee8b13aaa8bf0a13c02a37635"


def test_the_vocabulary_comes_from_train_alone(data: RealData) -> None:
    """Words that occur once in train, or only elsewhere, are unknown: the number in each question occurs once."""
    assert set(data.space.vocabulary) == {"is", "the", "?", *SUBJECTS, *" ".join(sum(VERBS.values(), ())).split()}
    splits = {"train": (["a b", "b b", "b a"], [0, 1, 0]), "test": (["c c", "c d"], [0, 1])}
    other = load_data(splits | {"validation": (["a a", "a c"], [0, 1])}, text=TEXT)
    assert other.space.vocabulary == ("b", "a"), "the most frequent word first"
    assert other.space.lines(other.normalise(other.test.images)) == ["[unknown] [unknown]", "[unknown] [unknown]"]


def test_sentences_are_cut_and_padded_to_one_length(data: RealData) -> None:
    space = data.space
    assert space.shape == (6, 16)
    short, long = space.normalise("the cat"), space.normalise("the cat is the dog is the bird")
    assert torch.equal(short[2:], torch.zeros(4, 16))
    assert torch.equal(short[:2], long[:2])
    assert space.lines(torch.stack([short, long])) == ["the cat", "the cat is the dog is"]


def test_a_real_sentence_is_normalised_as_the_data_hold_it(data: RealData) -> None:
    words, _ = texts(60, 1)
    assert torch.equal(data.space.normalise(words), data.normalise(data.test.images))
    assert torch.equal(data.space.normalise(data.test.images), data.normalise(data.test.images))
    assert data.in_precision(torch.float64).normalise(data.test.images).dtype == torch.float64


# --- a set


def test_a_set_of_sentences_is_distilled_verified_and_used(run: Path, data: RealData) -> None:
    distilled = DistilledSet.load(run)
    assert isinstance(distilled.header.labels, Stored)
    assert not distilled.hard
    assert verify(distilled, data)["holds"]
    assert distilled.header.score["mean"] > 0.6
    model = distilled.fit(build(NETWORK, shape=distilled.shape, classes=3).factory())
    asked = distilled.normalise(["Who is the zebra?", "How many is the cat ?"])
    assert model(asked).shape == (2, 3)


def test_the_file_of_a_set_holds_the_words_and_no_vectors(run: Path) -> None:
    distilled = DistilledSet.load(run)
    assert not [name for name in distilled.tensors() if "vectors" in name]
    space = SPACE(asdict(distilled.header.space), "space")
    assert space == distilled.header.space
    other = replace(space, sha256="0" * 64)
    with pytest.raises(UserError, match="the set was made with 000000000000; use the version of datastill that made"):
        other.normalise("the cat")


def test_a_packed_set_of_sentences_has_its_nearest_words(run: Path, tmp_path: Path) -> None:
    distilled = DistilledSet.load(run)
    distilled.packed().save(tmp_path / "set.safetensors")
    packed = DistilledSet.load(tmp_path / "set.safetensors")
    assert packed.nbytes < distilled.nbytes / 2
    assert packed.header.space.lines(packed.inputs) == distilled.header.space.lines(distilled.inputs)


def test_the_answers_of_many_networks_are_compiled_with_the_vectors(run: Path, data: RealData) -> None:
    """A trace of the forward pass from tokens to classes, as the evaluation of many networks compiles it."""
    distilled = DistilledSet.load(run)
    network = build(NETWORK, shape=distilled.shape, classes=3)
    theta, tokens = network.init("xavier", [torch.Generator().manual_seed(0)])[0], data.test.images
    found = traced(lambda t, x: network.apply(t, distilled.normalise(x)).argmax(1), theta, tokens)
    other = tokens.flip(0)
    assert torch.equal(found(theta, other), network.apply(theta, distilled.normalise(other)).argmax(1))


@pytest.mark.parametrize("name", ["random", "k-means", "herding"])
def test_baselines_of_sentences_are_sets_of_sentences(name: str, run: Path, data: RealData) -> None:
    beside = Beside.of(DistilledSet.load(run), data)
    made = beside.made(BASELINES[name](), tune=False)
    assert made.header.space == data.space
    if name == "random":  # real sentences
        assert set(made.header.space.lines(made.inputs)) <= set(data.space.lines(data.normalise(data.train.images)))


@pytest.mark.parametrize(
    "method",
    [DistributionMatching(real_per_class=8), KernelRidge(pool=2, real_batch=16), replace(UNROLLED, steps=1)],
)
def test_every_method_makes_sets_of_sentences(method: Method, data: RealData) -> None:
    method = replace(method, ipc=1)
    started = prepare(toy_config(network=NETWORK, data=data.settings, method=method), data)
    state = started.method.init(started.task)
    update = started.method.step(started.task, state, 0)
    assert all(gradient.isfinite().all() for gradient in update.gradients.values())
    made = started.method.result(started.task, state)
    assert made.inputs.shape == (3, 6, 16)
    assert made.program.augmentation is None


def test_sentences_are_shown_as_their_nearest_words(run: Path, capsys: pytest.CaptureFixture) -> None:
    lines = DistilledSet.load(run).header.space.lines(DistilledSet.load(run).inputs)
    assert main(["show", str(run)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    page = write_report(run).read_text(encoding="utf-8")
    assert all(" ".join(line.split()) in shown for line in lines)
    assert "test sentences)" in shown
    assert all(line.replace("'", "&#39;") in page for line in lines)
    assert "the words with the nearest vectors" in page
    with pytest.raises(UserError, match="sentences are shown as text, not as a picture; print it with"):
        DistilledSet.load(run).header.space.pictures(torch.zeros(1, 6, 16))


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_an_export_of_sentences_trains_and_reads_as_datastill_does(
    kind: str, run: Path, data: RealData, tmp_path: Path
) -> None:
    distilled = DistilledSet.load(run)
    where = export(distilled, tmp_path / "out", kind)
    if kind == "npz":
        with np.load(where) as archive:
            code = str(archive["fit.py"])
    else:
        code = (where / "fit.py").read_text(encoding="utf-8")
        with (where / "rows.csv").open(newline="", encoding="utf-8") as file:
            found = [line["words"] for line in csv.DictReader(file)]
        assert found == distilled.header.space.lines(distilled.inputs)
    names: dict[str, Any] = {}
    exec(compile(code, "fit.py", "exec"), names)
    alone = SimpleNamespace(**names)
    theirs, ours = (build(NETWORK, shape=(6, 16), classes=3).factory() for _ in range(2))
    ours.load_state_dict(theirs.state_dict())
    distilled.fit(ours)
    alone.fit(theirs, where)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)
    sentences = ["Who is the zebra?", "the cat " * 20]
    assert torch.equal(alone.normalise(sentences, alone.read_program(where), where), distilled.normalise(sentences))


# --- refusals


def test_data_with_other_words_is_refused(run: Path, data: RealData) -> None:
    other = load_data(
        {"train": texts(90, 5), "test": texts(60, 1)}, name="others", validation=0.25, text=replace(TEXT, words=5)
    )
    with pytest.raises(UserError, match="the set has sentences of other words than data 'others'; give the data"):
        verify(DistilledSet.load(run), other)
    config = toy_config(network=NETWORK, data=other.settings, warm_start=str(run))
    with pytest.raises(UserError, match="has sentences of other words than the data of this run"):
        prepare(config, other)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (["", "a b"], "sentence 0 of train is '', which has no words; leave it out"),
        (["a b", None], "sentence 1 of train is missing; leave it out"),
        (["a", "b"], "no word occurs twice in the sentences of train"),
    ],
)
def test_impossible_sentences_are_refused_in_one_line(examples: list[Any], message: str) -> None:
    other = (["c", "d"], [0, 1])
    with pytest.raises(UserError, match=message):
        load_data({"train": (examples, [0, 1]), "validation": other, "test": (["e", "f"], [0, 1])})


def test_settings_of_another_kind_of_data_are_refused(run: Path, data: RealData) -> None:
    with pytest.raises(UserError, match="pad is set, but has no effect: it is for images, and 'arrays' has sentences"):
        load_data(texts(30, 0), pad=2)
    with pytest.raises(UserError, match="text is set, but has no effect: it is for sentences, and 'digits' has images"):
        load_data("digits", text=TEXT)
    with pytest.raises(UserError, match=r"text\.length is 0, but must be from 1 to 10000"):
        TextSettings(length=0)
    for wrong, message in ((torch.full((6,), 99), "stand for no token"), (torch.zeros(6), "float32 numbers of shape")):
        with pytest.raises(UserError, match=message):
            data.space.normalise(wrong)
    with pytest.raises(UserError, match="network 'textcnn' takes sentences of shape"):
        build(NETWORK, shape=(1, 8, 8), classes=3)
    made = DistilledSet.load(run)
    with pytest.raises(UserError, match="png cannot hold the examples, which are sentences of 6 vectors of 16 numbers"):
        export(made, "nowhere", "png")
    with pytest.raises(UserError, match="50000 words with vectors of 4096 numbers take 204800000 numbers, but at most"):
        TextSettings(words=50_000, dim=4096)
    with pytest.raises(UserError, match=r"network 'lenet' takes images .*, not examples of shape .*; take 'mlp', or"):
        build("lenet", shape=data.shape, classes=3)
    with pytest.raises(UserError, match="a word occurs twice"):
        Tokens.of(("a", "a"), length=2, dim=2, seed=0)


def test_data_of_another_vocabulary_is_refused_in_one_line(run: Path) -> None:
    questions, labels = texts(60, 2)
    other = load_data(([each.replace("the", "this") for each in questions], labels), text=TEXT)
    with pytest.raises(
        UserError, match="the set has sentences of other words than data 'arrays'; give the data"
    ) as caught:
        score(DistilledSet.load(run), other, Protocol(networks=1))
    assert "\n" not in str(caught.value)
