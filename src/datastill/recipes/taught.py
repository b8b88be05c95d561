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
