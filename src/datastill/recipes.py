"""Recipes: named full configurations, as functions that return a frozen `Config`."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import tyro

from .data import DataSettings
from .errors import UserError, at_least, unknown
from .evaluation import Protocol
from .loop import LoopSettings
from .methods import Method, find_method, name_of
from .methods.dataset_distillation import DatasetDistillation
from .objectives import Attack
from .pool import PREFIX, is_pool
from .records import must_have_types, updated
from .training import Engine


@dataclass(frozen=True, kw_only=True)
class Config:
    """All that decides a run; stored in the run's folder and in the artifact."""

    recipe: tyro.conf.Suppress[str] = "digits"
    """Where the settings started from; kept for the record."""
    data: DataSettings = field(default_factory=DataSettings)
    """The real data."""
    network: str = "mlp"
    """What is trained on the synthetic examples: a name, convnet(depth=2), or your own module:callable."""
    initialiser: str = "xavier"
    """How initial weights are drawn: xavier, xavier-uniform, kaiming, orthogonal, own."""
    initial: str = "random"
    """p(theta_0): random, a fresh draw each time; fixed, one draw that is stored in the artifact; own, the weights that
    the network comes with, e.g. alexnet(weights=FILE); pool:FILE, trained networks (datastill pretrain); pool:FILE#3,
    one of them."""
    objective: Literal["classification", "attack"] = "classification"
    """What a set is for: that networks learn the data, or (to study defences) that they misread one class of it."""
    attack_class: int = 0
    """Of an attack: the class that is to be misread."""
    target_class: int = 1
    """Of an attack: what it is to be taken for."""
    method: Method = field(default_factory=DatasetDistillation)
    """How to distil."""
    warm_start: str = ""
    """A distilled set to go on from instead of starting anew: a file, or a set that comes with the package."""
    loop: LoopSettings = field(default_factory=LoopSettings)
    """The outer optimisation."""
    engine: Engine = field(default_factory=Engine)
    """How hypergradients are computed."""
    protocol: Protocol = field(default_factory=Protocol)
    """How the finished set is evaluated."""
    random_sets: int = 0
    """Random real sets of the same size to compare with, each with the step size that validates best."""
    seed: int = 0
    """Of everything random in the run."""
    device: str = "auto"
    """Where to compute: auto (cuda where there is one), cpu, cuda, cuda:1."""

    def __post_init__(self) -> None:
        _must_be_name(self.network)
        must_have_types(self)
        at_least("random_sets", self.random_sets, 0)
        if self.initial not in ("random", "fixed", "own") and not is_pool(self.initial):
            raise UserError(f"initial is {self.initial!r}; take random, fixed, own, {PREFIX}FILE or {PREFIX}FILE#3")
        for setting, why in self._without_effect():
            raise UserError(f"{setting} is given, but has no effect: {why}")

    def _without_effect(self) -> Iterator[tuple[str, str]]:
        """Settings that other settings make useless, and why."""
        if self.objective != "attack" and (self.attack_class, self.target_class) != (0, 1):
            yield "attack_class or target_class", "only --objective attack misreads a class"
        if self.initial not in ("random", "fixed") and self.initialiser not in (Config.initialiser, "own"):
            yield f"initialiser {self.initialiser}", f"with initial {self.initial} no weights are drawn; leave it out"
        if self.engine.mode == "stored" and self.engine.keep_every > 1:
            yield "engine.keep_every", "stored graphs keep all steps; take --engine.mode recomputed"

    @property
    def attack(self) -> Attack | None:
        """Which class shall be read as which; None unless that is the objective."""
        if self.objective != "attack":
            return None
        return Attack(attack_class=self.attack_class, target_class=self.target_class)

    @property
    def attacked(self) -> tuple[int, int] | None:
        """The same as a set's header says it."""
        return (self.attack_class, self.target_class) if self.attack else None


def _must_be_name(network: object) -> None:
    """Raise a `UserError` where a network is given itself: only its name can be stored and built again."""
    if not isinstance(network, str):
        owner = getattr(network, "__module__", type(network).__module__)
        name = getattr(network, "__qualname__", type(network).__qualname__)
        raise UserError(
            f"network is a {type(network).__name__}, but must be a name in a string, which can be stored and "
            f"built again: a known network, or your own as 'module:callable', such as '{owner}:{name}'"
        )


def digits() -> Config:
    """Embedded 8x8 digits, MLP, random initial weights, 10 examples: about two minutes."""
    return Config(
        recipe="digits",
        network="mlp",
        method=DatasetDistillation(
            ipc=1, steps=1, epochs=10, networks=4, step_size=0.1, examples_rate=0.05, step_sizes_rate=0.03
        ),
        loop=LoopSettings(iterations=600),
        engine=Engine(mode="stored", execution="eager", together=4, precision="float32"),
        random_sets=20,
    )


def mnist_random() -> Config:
    """MNIST, LeNet, random initial weights, 100 examples in 10 steps x 3 epochs (the paper: 79.5 %)."""
    return Config(
        recipe="mnist-random",
        data=DataSettings(name="mnist"),
        network="lenet",
        method=DatasetDistillation(
            ipc=10, steps=10, epochs=3, optimiser="adam", step_size=0.004, examples_rate=0.03, step_sizes_rate=0.008
        ),
        loop=LoopSettings(iterations=6000, schedule="exponential", average=0.998, validate_every=250),
    )


def mnist_random_long() -> Config:
    """MNIST, LeNet, random initial weights, 100 examples in one step x 60 epochs, through windows of 30 steps."""
    return _long("mnist-random-long", "mnist", ipc=10, iterations=2000)


def mnist_random_10() -> Config:
    """MNIST, LeNet, random initial weights, 10 examples in one step x 60 epochs, through windows of 30 steps."""
    return _long("mnist-random-10", "mnist", ipc=1, iterations=600)


def usps_random() -> Config:
    """USPS at 28x28, LeNet, random initial weights, 100 examples in one step x 60 epochs, windows of 30 steps."""
    return _long("usps-random", "usps", ipc=10, iterations=300)


def usps_random_10() -> Config:
    """USPS at 28x28, LeNet, random initial weights, 10 examples in one step x 60 epochs, windows of 30 steps."""
    return _long("usps-random-10", "usps", ipc=1, iterations=600)


def fashion_random() -> Config:
    """Fashion-MNIST with the settings of MNIST: LeNet, random initial weights, 100 examples in one step x 60 epochs."""
    return _long("fashion-random", "fashion_mnist", ipc=10, iterations=400)


def _long(name: str, data: str, ipc: int, iterations: int) -> Config:
    """All examples in every step: networks are thrown off less than by steps on ten examples (docs/LOG.md)."""
    return Config(
        recipe=name,
        data=DataSettings(name=data, resize=28 if data == "usps" else None),
        network="lenet",
        method=DatasetDistillation(
            ipc=ipc,
            steps=1,
            epochs=60,
            window=30,
            optimiser="adam",
            step_size=0.001,
            examples_rate=0.05,
            step_sizes_rate=0.005,
        ),
        loop=LoopSettings(iterations=iterations, schedule="exponential", average=0.99, validate_every=200),
    )


def mnist_fixed() -> Config:
    """MNIST, LeNet, one known theta_0, 10 examples (the paper: 93.76 %)."""
    return Config(
        recipe="mnist-fixed",
        data=DataSettings(name="mnist"),
        network="lenet",
        initial="fixed",
        method=DatasetDistillation(
            ipc=1,
            steps=1,
            epochs=10,
            start_from="noise",
            coordinates="pixels",
            step_size=0.05,
            examples_rate=0.03,
            step_sizes_rate=0.02,
            step_sizes_clip=0.5,
        ),
        loop=LoopSettings(iterations=16000, betas=(0.5, 0.999), average=0.99, validate_every=50),
    )


def cifar10_random() -> Config:
    """CIFAR-10, AlexCifarNet, random initial weights, 100 examples in 10 steps x 3 epochs (the paper: 36.79 %)."""
    return _cifar10_random(
        "cifar10-random",
        DatasetDistillation(examples_rate=0.03),
        LoopSettings(iterations=500, schedule="exponential", average=0.99, validate_every=100),
    )


def cifar10_random_long() -> Config:
    """CIFAR-10, AlexCifarNet, random initial weights, 100 examples in 2 steps x 15 epochs, windows of 20 steps."""
    return _cifar10_random(
        "cifar10-random-long",
        DatasetDistillation(
            steps=2,
            epochs=15,
            window=20,
            optimiser="adam",
            step_size=0.001,
            examples_rate=0.05,
            step_sizes_rate=0.005,
        ),
        LoopSettings(iterations=600, schedule="exponential", average=0.98, validate_every=100),
    )


def cifar10_random_10() -> Config:
    """CIFAR-10, AlexCifarNet, random initial weights, 10 examples in one step x 15 epochs."""
    return _cifar10_random(
        "cifar10-random-10",
        DatasetDistillation(ipc=1, steps=1, epochs=15, examples_rate=0.05),
        LoopSettings(iterations=250, schedule="exponential", average=0.98, validate_every=50),
    )


def _cifar10_random(name: str, method: DatasetDistillation, loop: LoopSettings) -> Config:
    return Config(
        recipe=name,
        data=DataSettings(name="cifar10"),
        network="alexcifarnet",
        method=method,
        loop=loop,
        protocol=Protocol(networks=20),
    )


def cifar10_fixed() -> Config:
    """CIFAR-10, AlexCifarNet, one known theta_0, 100 examples in 10 steps x 3 epochs (the paper: 54.03 %)."""
    return Config(
        recipe="cifar10-fixed",
        data=DataSettings(name="cifar10"),
        network="alexcifarnet",
        initial="fixed",
        method=DatasetDistillation(examples_rate=0.1, step_sizes_rate=0.02),
        loop=LoopSettings(iterations=4000, schedule="exponential", average=0.99, validate_every=200),
    )


def imagenette_alexnet() -> Config:
    """Imagenette at 224x224, AlexNet trained on ImageNet with a new classifier, 10 examples in one step x 3 epochs."""
    return Config(
        recipe="imagenette-alexnet",
        data=DataSettings(name="imagenette", validation=0.2),
        network="alexnet(weights=alexnet_features_imagenet_fp16.safetensors,adapt=classifier)",
        initial="own",
        method=DatasetDistillation(
            ipc=1, steps=1, epochs=3, coordinates="pixels", step_size=0.003, real_batch=64, examples_rate=0.02
        ),
        loop=LoopSettings(iterations=200, average=0.95, validate_every=20),
        random_sets=5,
    )


RECIPES: dict[str, Callable[[], Config]] = {
    "cifar10-fixed": cifar10_fixed,
    "cifar10-random": cifar10_random,
    "cifar10-random-10": cifar10_random_10,
    "cifar10-random-long": cifar10_random_long,
    "digits": digits,
    "fashion-random": fashion_random,
    "imagenette-alexnet": imagenette_alexnet,
    "mnist-fixed": mnist_fixed,
    "mnist-random": mnist_random,
    "mnist-random-10": mnist_random_10,
    "mnist-random-long": mnist_random_long,
    "usps-random": usps_random,
    "usps-random-10": usps_random_10,
}


def recipe(name: str) -> Config:
    """The configuration of a named recipe.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()


def as_dict(config: Config) -> dict[str, Any]:
    """The configuration as plain JSON values; the method's settings hold its name."""
    plain: dict[str, Any] = asdict(config)
    plain["method"] = {"name": name_of(config.method), **plain["method"]}
    return plain


def from_dict(plain: Any, *, trust: bool = True) -> Config:
    """The inverse of `as_dict`.

    Args:
        plain: a JSON object.
        trust: False where it was read from a file: then no module is imported for the method that it names.

    Raises:
        UserError: not an object, an unknown method or setting, a value that a setting cannot have, or a method that
            needs trust.
    """
    if not isinstance(plain, Mapping):
        raise UserError(f"a configuration must be a JSON object, but is a {type(plain).__name__}")
    settings = plain.get("method", {})
    if not isinstance(settings, Mapping):
        raise UserError(f"method must be a JSON object, but is a {type(settings).__name__}")
    settings = dict(settings)
    name = settings.pop("name", DatasetDistillation.name)
    method = find_method(str(name), trust=trust)()
    return updated(replace(Config(), method=method), {**plain, "method": settings})


def differences(one: Config, other: Config) -> list[str]:
    """The settings in which two configurations differ, as method.ipc: 1 != 10."""
    return _differences(as_dict(one), as_dict(other), "")


def _differences(one: Mapping[str, Any], other: Mapping[str, Any], path: str) -> list[str]:
    found: list[str] = []
    for key in sorted(one.keys() | other.keys()):
        left, right = one.get(key), other.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += _differences(left, right, f"{path}{key}.")
        elif left != right:
            found.append(f"{path}{key}: {left} != {right}")
    return found
