"""Recipes: named full configurations, as functions that return a frozen `Config`."""

from collections.abc import Callable
from dataclasses import replace

from .config import Config
from .data import DataSettings
from .errors import unknown
from .evaluation import Grid, Protocol
from .loop import LoopSettings
from .methods import Method
from .methods.dataset_distillation import DatasetDistillation
from .methods.distribution_matching import DistributionMatching
from .methods.kernel_ridge import KernelRidge
from .methods.selection import RandomReal
from .methods.teacher_labels import TeacherLabels
from .networks.start import Fixed, Pretrained, Random
from .program import AugmentationName
from .training import Engine, Unroll


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


def kernel_mnist() -> Config:
    """MNIST, ConvNet, kernel ridge regression with a pool, from a set of distribution matching, 100 examples."""
    method = KernelRidge(mirror=False, examples_rate=0.004)
    return replace(_kernel("kernel-mnist", "mnist", method, iterations=800), warm_start="mnist-100-matching")


def kernel_cifar10() -> Config:
    """CIFAR-10, ConvNet, kernel ridge regression with a pool, 100 examples with learned labels."""
    return _kernel("kernel-cifar10", "cifar10", KernelRidge(examples_rate=0.04), iterations=2500)


def kernel_cifar10_whitened() -> Config:
    """CIFAR-10, whitened (ZCA), ConvNet, kernel ridge regression with wider networks and more of it; for a GPU."""
    method = KernelRidge(examples_rate=0.04, real_batch=1024)
    config = _kernel("kernel-cifar10-whitened", "cifar10", method, iterations=9000)
    return replace(
        config,
        data=replace(config.data, whiten=0.1),
        network="convnet(width=128,depth=2)",
        loop=replace(config.loop, checkpoint_every=500),
        validation=Protocol(networks=2, network="convnet"),
    )


def kernel_cifar10_1() -> Config:
    """CIFAR-10, ConvNet, kernel ridge regression with a pool, 10 examples with learned labels."""
    return _kernel("kernel-cifar10-1", "cifar10", KernelRidge(ipc=1, examples_rate=0.04), iterations=2000)


def kernel_cifar10_decoded() -> Config:
    """CIFAR-10, whitened (ZCA), ConvNet, kernel ridge regression; 100 stored images of 4 examples of half the size."""
    config = _kernel("kernel-cifar10-decoded", "cifar10", KernelRidge(factor=2, examples_rate=0.04), iterations=1900)
    return replace(
        config,
        data=replace(config.data, whiten=0.1),
        validation=Protocol(networks=1, network="convnet(width=32)", epochs=30),  # 24,000 steps take minutes otherwise
    )


def kernel_cifar10_1_decoded() -> Config:
    """CIFAR-10, ConvNet, kernel ridge regression; 10 stored images with 4 examples of half the size in each."""
    method = KernelRidge(ipc=1, factor=2, examples_rate=0.04)
    return _kernel("kernel-cifar10-1-decoded", "cifar10", method, iterations=3000)


def kernel_mnist_decoded() -> Config:
    """MNIST, ConvNet, kernel ridge regression; 100 stored images with 4 examples of half the size in each."""
    method = KernelRidge(factor=2, examples_rate=0.04, mirror=False)
    return _kernel("kernel-mnist-decoded", "mnist", method, iterations=600)


def kernel_mnist_1_decoded() -> Config:
    """MNIST, ConvNet, kernel ridge regression; 10 stored images with 4 examples of half the size in each."""
    method = KernelRidge(ipc=1, factor=2, examples_rate=0.04, mirror=False)
    return _kernel("kernel-mnist-1-decoded", "mnist", method, iterations=3000)


def kernel_fashion() -> Config:
    """Fashion-MNIST, the settings of kernel-cifar10: nothing was chosen on this data."""
    return _kernel("kernel-fashion", "fashion_mnist", KernelRidge(examples_rate=0.04), iterations=800)


def unrolled_mnist() -> Config:
    """MNIST, ConvNet, 100 examples with learned labels, windows of 16 of 60 steps in shuffled batches."""
    return _unrolled("unrolled-mnist", "mnist", augment="siamese-no-flip")


def unrolled_cifar10() -> Config:
    """CIFAR-10, ConvNet, 100 examples with learned labels, windows of 16 of 60 steps in shuffled batches."""
    return _unrolled("unrolled-cifar10", "cifar10", augment="siamese")


def matching_mnist() -> Config:
    """MNIST, ConvNet, distribution matching, 100 examples."""
    return _matching("matching-mnist", "mnist", DistributionMatching(mirror=False, examples_rate=10.0))


def matching_cifar10() -> Config:
    """CIFAR-10, ConvNet, distribution matching, 100 examples."""
    return _matching("matching-cifar10", "cifar10", DistributionMatching(examples_rate=10.0))


def taught_mnist_lenet() -> Config:
    """MNIST, LeNet, 100 random real images with labels of the teacher pools/mnist-teacher.safetensors at use."""
    labels = TeacherLabels(teacher="pools/mnist-teacher.safetensors", labelled="at-use", temperature=4.0)
    return Config(
        recipe="taught-mnist-lenet",
        data=DataSettings(name="mnist"),
        network="lenet",
        method=RandomReal(ipc=10, program="shuffled-300-adam", mirror=False, teacher_labels=labels),
        protocol=Protocol(networks=10),
        validation=Protocol(networks=1),
        tune=Grid(step_sizes=(0.003,), epochs=(1500,), optimisers=()),  # as docs/LOG.md found them
    )


def taught_cifar10_1() -> Config:
    """CIFAR-10, whitened, ConvNet, 10 random real images; an early snapshot of pools/cifar10-teacher gives labels once.

    The floor of Qin et al. 2024 (arXiv 2406.10485), with Adam in the place of momentum.
    """
    labels = TeacherLabels(teacher="pools/cifar10-teacher.safetensors@1")
    return Config(
        recipe="taught-cifar10-1",
        data=DataSettings(name="cifar10", whiten=0.1),
        network="convnet",
        start=Random("kaiming"),
        method=RandomReal(ipc=1, program="shuffled-300-adam", teacher_labels=labels),
        protocol=Protocol(networks=5),
        validation=Protocol(networks=1),
        tune=Grid(step_sizes=(0.001,), epochs=(3000,), optimisers=()),  # as docs/LOG.md found them
    )


def _kernel(name: str, data: str, method: KernelRidge, iterations: int) -> Config:
    """Return a configuration with a pool of shallow ConvNets, which have more features than deep ones (docs/LOG.md)."""
    return _convnet(name, data, "convnet(width=64,depth=2)", method, LoopSettings(iterations=iterations))


def _unrolled(name: str, data: str, augment: AugmentationName) -> Config:
    """Return a configuration that learns for 60 steps of Adam, and is validated along the way."""
    method = DatasetDistillation(
        steps=1,
        epochs=12,
        batch=20,
        augment=augment,
        optimiser="adam",
        step_size=0.001,
        examples_rate=0.03,
        labels_rate=0.01,
        step_sizes_rate=0.005,
        unroll=Unroll(window=16, growth=500),
    )
    config = _convnet(name, data, "convnet(width=32)", method, LoopSettings(iterations=2000, average=0.98))
    return replace(config, loop=replace(config.loop, validate_every=250))


def _matching(name: str, data: str, method: DistributionMatching) -> Config:
    return _convnet(name, data, "convnet(width=64)", method, LoopSettings(iterations=2000))


def _convnet(name: str, data: str, network: str, method: Method, loop: LoopSettings) -> Config:
    """Return a configuration that distils with a narrow ConvNet, and is scored with the usual one (width 128)."""
    return Config(
        recipe=name,
        data=DataSettings(name=data),
        network=network,
        start=Random("kaiming"),
        method=method,
        loop=replace(loop, validate_every=loop.iterations),
        protocol=Protocol(networks=5, network="convnet"),
        validation=Protocol(networks=1, network="convnet"),
    )


RECIPES: dict[str, Callable[[], Config]] = {each.__name__.replace("_", "-"): each for each in (
    cifar10_fixed, cifar10_fixed_long, cifar10_fixed_momentum, cifar10_random, cifar10_random_10,
    cifar10_random_long, digits, fashion_random, imagenette_alexnet, kernel_cifar10, kernel_cifar10_1,
    kernel_cifar10_1_decoded, kernel_cifar10_decoded, kernel_cifar10_whitened, kernel_fashion, kernel_mnist,
    kernel_mnist_1_decoded, kernel_mnist_decoded, matching_cifar10, matching_mnist, mnist_fixed, mnist_random,
    mnist_random_10, mnist_random_decoded, mnist_random_long, taught_cifar10_1, taught_mnist_lenet, unrolled_cifar10,
    unrolled_mnist, usps_random, usps_random_10,
)}  # fmt: skip
"""The recipes by name, which is that of the function."""


def recipe(name: str) -> Config:
    """Return the configuration of a named recipe.

    Raises:
        UserError: there is no such recipe.
    """
    if name not in RECIPES:
        raise unknown("recipe", name, RECIPES)
    return RECIPES[name]()
