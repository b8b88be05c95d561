"""Recipes that distil with narrow ConvNets, for the usual one: kernel ridge regression, matching, unrolling."""

from dataclasses import replace

from ..config import Config
from ..data import DataSettings
from ..evaluation import Protocol
from ..loop import LoopSettings
from ..methods import Method
from ..methods.dataset_distillation import DatasetDistillation
from ..methods.distribution_matching import DistributionMatching
from ..methods.kernel_ridge import KernelRidge
from ..networks.start import Random
from ..program import AugmentationName
from ..training import Unroll


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


def kernel_cifar10_decoded_wide() -> Config:
    """CIFAR-10, as kernel-cifar10-decoded with wider networks and more of it: for a GPU."""
    config = kernel_cifar10_decoded()
    return replace(
        config,
        recipe="kernel-cifar10-decoded-wide",
        network="convnet(width=128,depth=2)",
        method=KernelRidge(factor=2, examples_rate=0.04, real_batch=1024),
        loop=replace(config.loop, iterations=3000, validate_every=3000, checkpoint_every=500),
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


RECIPES = (
    kernel_cifar10, kernel_cifar10_1, kernel_cifar10_1_decoded, kernel_cifar10_decoded, kernel_cifar10_decoded_wide,
    kernel_cifar10_whitened, kernel_fashion, kernel_mnist, kernel_mnist_1_decoded, kernel_mnist_decoded,
    matching_cifar10, matching_mnist, unrolled_cifar10, unrolled_mnist,
)  # fmt: skip
"""The recipes of this file."""
