"""Recipes whose labels a trained network gives."""

from ..config import Config
from ..data import DataSettings
from ..evaluation import Grid, Protocol
from ..methods.selection import RandomReal
from ..methods.teacher_labels import TeacherLabels
from ..networks.start import Random


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
    return _floor("taught-cifar10-1", 1, "pools/cifar10-teacher.safetensors@1", step_size=0.001, epochs=3000)


def taught_cifar10_10() -> Config:
    """CIFAR-10, whitened, ConvNet, 100 random real images; an early snapshot of pools/cifar10-slow-teacher, once."""
    return _floor("taught-cifar10-10", 10, "pools/cifar10-slow-teacher.safetensors@1", step_size=0.003, epochs=300)


def taught_cifar10_50() -> Config:
    """CIFAR-10, whitened, ConvNet, 500 random real images; a snapshot of pools/cifar10-early-teacher, once."""
    return _floor("taught-cifar10-50", 50, "pools/cifar10-early-teacher.safetensors@3", step_size=0.003, epochs=300)


def _floor(name: str, ipc: int, teacher: str, *, step_size: float, epochs: int) -> Config:
    """Return a configuration of random real images with labels that a teacher gave once (docs/LOG.md)."""
    return Config(
        recipe=name,
        data=DataSettings(name="cifar10", whiten=0.1),
        network="convnet",
        start=Random("kaiming"),
        method=RandomReal(ipc=ipc, program="shuffled-300-adam", teacher_labels=TeacherLabels(teacher=teacher)),
        protocol=Protocol(networks=5),
        validation=Protocol(networks=1),
        tune=Grid(step_sizes=(step_size,), epochs=(epochs,), optimisers=()),
    )


RECIPES = (
    taught_cifar10_1, taught_cifar10_10, taught_cifar10_50, taught_mnist_lenet,
)  # fmt: skip
"""The recipes of this file."""
