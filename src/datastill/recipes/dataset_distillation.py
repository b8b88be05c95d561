"""Recipes of dataset distillation with the networks of its paper: LeNet, AlexCifarNet, AlexNet; and the digits."""

from dataclasses import replace

from ..config import Config
from ..data import DataSettings
from ..evaluation import Protocol
from ..loop import LoopSettings
from ..methods.dataset_distillation import DatasetDistillation
from ..networks.start import Fixed, Pretrained
from ..training import Engine, Unroll


def digits() -> Config:
    """8x8 digits that need no download, MLP, random initial weights, 10 examples: about two minutes."""
    return Config(
        recipe="digits",
        network="mlp",
        method=DatasetDistillation(
            ipc=1,
            steps=1,
            epochs=10,
            step_size=0.1,
            examples_rate=0.05,
            step_sizes_rate=0.03,
            unroll=Unroll(networks=4, engine=Engine(mode="stored", execution="eager", together=4, precision="float32")),
        ),
        loop=LoopSettings(iterations=600),
        random_sets=20,
    )


def mnist_random() -> Config:
    """MNIST, LeNet, random initial weights, 100 examples in 10 steps x 3 epochs (the paper: 79.5 %)."""
    return _mnist_random("mnist-random", factor=1, iterations=6000)


def mnist_random_decoded() -> Config:
    """MNIST, LeNet, random initial weights, 100 stored images with 4 examples of half the size in each; 30 steps."""
    config = _mnist_random("mnist-random-decoded", factor=2, iterations=3000)
    return replace(config, validation=Protocol(networks=50))


def _mnist_random(name: str, factor: int, iterations: int) -> Config:
    return Config(
        recipe=name,
        data=DataSettings(name="mnist"),
        network="lenet",
        method=DatasetDistillation(
            ipc=10,
            factor=factor,
            steps=10,
            epochs=3,
            optimiser="adam",
            step_size=0.004,
            examples_rate=0.03,
            step_sizes_rate=0.008,
        ),
        loop=LoopSettings(iterations=iterations, schedule="exponential", average=0.998, validate_every=250),
    )


def mnist_random_long() -> Config:
    """MNIST, LeNet, random initial weights, 100 examples in one step x 60 epochs, windows of 30 steps."""
    return _long("mnist-random-long", "mnist", ipc=10, iterations=2000)


def mnist_random_10() -> Config:
    """MNIST, LeNet, random initial weights, 10 examples in one step x 60 epochs, windows of 30 steps."""
    return _long("mnist-random-10", "mnist", ipc=1, iterations=600)


def usps_random() -> Config:
    """USPS at 28x28, LeNet, random initial weights, 100 examples in one step x 60 epochs, windows of 30 steps."""
    return _long("usps-random", "usps", ipc=10, iterations=300)


def usps_random_10() -> Config:
    """USPS at 28x28, LeNet, random initial weights, 10 examples in one step x 60 epochs, windows of 30 steps."""
    return _long("usps-random-10", "usps", ipc=1, iterations=600)


def fashion_random() -> Config:
    """Fashion-MNIST, LeNet, random initial weights, 100 examples in one step x 60 epochs, windows of 30 steps."""
    return _long("fashion-random", "fashion_mnist", ipc=10, iterations=400)


def _long(name: str, data: str, ipc: int, iterations: int) -> Config:
    """Return a configuration with all examples in every step, which disturbs networks less than ten (docs/LOG.md)."""
    return Config(
        recipe=name,
        data=DataSettings(name=data, resize=28 if data == "usps" else None),
        network="lenet",
        method=DatasetDistillation(
            ipc=ipc,
            steps=1,
            epochs=60,
            unroll=Unroll(window=30),
            optimiser="adam",
            step_size=0.001,
            examples_rate=0.05,
            step_sizes_rate=0.005,
        ),
        loop=LoopSettings(iterations=iterations, schedule="exponential", average=0.99, validate_every=200),
    )


def mnist_fixed() -> Config:
    """MNIST, LeNet, fixed initial weights, 10 examples in one step x 10 epochs (the paper: 93.76 %)."""
    return Config(
        recipe="mnist-fixed",
        data=DataSettings(name="mnist"),
        network="lenet",
        start=Fixed(),
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
            unroll=Unroll(window=20),
            optimiser="adam",
            step_size=0.001,
            examples_rate=0.05,
            step_sizes_rate=0.005,
        ),
        LoopSettings(iterations=600, schedule="exponential", average=0.98, validate_every=100),
    )


def cifar10_random_decoded() -> Config:
    """CIFAR-10, AlexCifarNet, random initial weights, 100 stored images with 4 examples in each; 60 steps, for a GPU.

    The labels are learned, too.
    """
    return _cifar10_random(
        "cifar10-random-decoded",
        DatasetDistillation(
            factor=2,
            steps=5,
            epochs=12,
            unroll=Unroll(window=20),
            optimiser="adam",
            step_size=0.001,
            examples_rate=0.05,
            labels_rate=0.01,
            step_sizes_rate=0.005,
        ),
        LoopSettings(iterations=500, schedule="exponential", average=0.98, validate_every=50),
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
    """CIFAR-10, AlexCifarNet, fixed initial weights, 100 examples in 10 steps x 3 epochs (the paper: 54.03 %)."""
    return _cifar10_fixed(
        "cifar10-fixed", DatasetDistillation(examples_rate=0.1, step_sizes_rate=0.02), iterations=4000
    )


def cifar10_fixed_momentum() -> Config:
    """CIFAR-10, AlexCifarNet, fixed initial weights, 100 examples; momentum inside, real batches of 1024, for a GPU."""
    method = DatasetDistillation(
        optimiser="momentum", step_size=0.004, real_batch=1024, examples_rate=0.1, step_sizes_rate=0.02
    )
    return _cifar10_fixed("cifar10-fixed-momentum", method, iterations=4000)


def cifar10_fixed_long() -> Config:
    """CIFAR-10, AlexCifarNet, fixed initial weights, 100 examples; goes on from the set of cifar10-fixed-momentum."""
    method = DatasetDistillation(optimiser="momentum", real_batch=512, examples_rate=0.03, step_sizes_rate=0.006)
    config = _cifar10_fixed("cifar10-fixed-long", method, iterations=1150)
    start = "runs/cifar10-fixed-momentum/distilled.safetensors"
    return replace(config, warm_start=start, loop=replace(config.loop, validate_every=100))


def _cifar10_fixed(name: str, method: DatasetDistillation, iterations: int) -> Config:
    return Config(
        recipe=name,
        data=DataSettings(name="cifar10"),
        network="alexcifarnet",
        start=Fixed(),
        method=method,
        loop=LoopSettings(iterations=iterations, schedule="exponential", average=0.99, validate_every=200),
    )


def imagenette_alexnet() -> Config:
    """Imagenette at 224x224, AlexNet pretrained on ImageNet, new classifier, 10 examples in one step x 3 epochs."""
    return Config(
        recipe="imagenette-alexnet",
        data=DataSettings(name="imagenette", validation=0.2),
        network="alexnet(weights=alexnet_features_imagenet_fp16.safetensors,adapt=classifier)",
        start=Pretrained(),
        method=DatasetDistillation(
            ipc=1, steps=1, epochs=3, coordinates="pixels", step_size=0.003, real_batch=64, examples_rate=0.02
        ),
        loop=LoopSettings(iterations=200, average=0.95, validate_every=20),
        random_sets=5,
    )


RECIPES = (
    cifar10_fixed, cifar10_fixed_long, cifar10_fixed_momentum, cifar10_random, cifar10_random_10,
    cifar10_random_decoded, cifar10_random_long, digits, fashion_random, imagenette_alexnet, mnist_fixed,
    mnist_random, mnist_random_10, mnist_random_decoded, mnist_random_long, usps_random, usps_random_10,
)  # fmt: skip
"""The recipes of this file."""
