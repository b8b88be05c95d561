"""Ten clients send a distilled set instead of weights, once: `python examples/federated.py [--quick]`."""

import copy
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import torch
import tyro
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils import parameters_to_vector, vector_to_parameters

import datastill
from datastill import Config, DistilledSet, LoopSettings, Protocol, RealData
from datastill.data import Split
from datastill.methods.distribution_matching import DistributionMatching

NETWORK = "convnet(width=8,depth=2)"


def clients(data: RealData, count: int) -> list[Split]:
    """Give the images of each class to the clients in shares from Dirichlet(0.3), so that most have few classes."""
    shares = torch.distributions.Dirichlet(torch.full((data.classes, count), 0.3)).sample()
    owner = shares[data.train.labels].multinomial(1)[:, 0]
    return [data.train.take((owner == client).nonzero()[:, 0]) for client in range(count)]


def sent(data: RealData, mine: Split, iterations: int, seed: int) -> DistilledSet:
    """Return what a client sends: one example of each class; without iterations these are random real images."""
    classes, labels = mine.labels.unique(return_inverse=True)  # a client knows only its own classes
    mine, names = replace(mine, labels=labels), tuple(data.class_names[label] for label in classes)
    method = DistributionMatching(ipc=1, examples_rate=10.0 if iterations else 0.0, mirror=False)
    loop = LoopSettings(iterations=max(iterations, 1), average=0)
    fast = Protocol(networks=1, epochs=1)  # the last iterate is taken, so that its validation says nothing
    config = Config(data=data.settings, network=NETWORK, method=method, loop=loop, protocol=fast, seed=seed)
    made = datastill.distill(config, data=replace(data, train=mine, validation=mine, class_names=names)).packed()
    return replace(made, targets=classes[made.targets], header=replace(made.header, class_names=data.class_names))


def on_sets(model: nn.Module, sets: list[DistilledSet], epochs: int) -> nn.Module:
    inputs, targets = torch.cat([each.inputs for each in sets]), torch.cat([each.targets for each in sets])
    program = replace(sets[0].program, order=replace(sets[0].program.order, epochs=epochs))
    return replace(sets[0], inputs=inputs, targets=targets, program=program).fit(model)


def on_images(model: nn.Module, data: RealData, mine: Split, epochs: int) -> nn.Module:
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for which in (some for _ in range(epochs) for some in torch.randperm(len(mine)).split(64)):
        optimiser.zero_grad()
        cross_entropy(model(data.normalise(mine.images[which])), mine.labels[which]).backward()
        optimiser.step()
    return model


def table(record: dict) -> str:
    lines = ["| sent by all clients together | bytes | accuracy at the server | n |", "|---|---|---|---|"]
    for name, runs in record["rows"].items():
        sent, found = zip(*runs, strict=True)
        accuracy = f"{fmean(found) * 100:.1f} ± {stdev(found) * 100:.1f} %"
        lines.append(f"| {name} | {fmean(sent):.0f} | {accuracy} | {len(runs)} |")
    return "\n".join(lines)


def main(*, out: Path | None = None, quick: bool = False) -> dict:
    began, data = time.process_time(), datastill.load_data("digits" if quick else "mnist")
    data = replace(data, train=data.train.spaced(10000), test=data.test.spaced(2000))
    seeds, count, epochs, iterations = (2, 3, (1, 2), 1) if quick else (5, 10, (3, 100), 60)
    network = datastill.build_network("mlp" if quick else "lenet", shape=data.shape, classes=data.classes)
    rows = {"weights, averaged": [], "weights, answers averaged": [], "random real images": [], "distilled sets": []}
    for seed in range(seeds):
        torch.manual_seed(seed)
        people, first, size = clients(data, count), network.factory(), 4 * network.size * count
        models = [on_images(copy.deepcopy(first), data, mine, epochs[0]) for mine in people]
        weights = torch.stack([parameters_to_vector(model.parameters()) for model in models])
        shares = torch.tensor([len(mine) / len(data.train) for mine in people])
        vector_to_parameters(shares @ weights, (mean := network.factory()).parameters())
        found = [(size, [mean]), (size, models)]
        for each in (0, iterations):
            sets = [sent(data, mine, each, seed) for mine in people]
            found.append((sum(one.nbytes for one in sets), [on_sets(copy.deepcopy(first), sets, epochs[1])]))
        for row, (size, models) in zip(rows.values(), found, strict=True):
            with torch.no_grad():
                answers = sum(model(data.normalise(data.test.images)).softmax(1) for model in models).argmax(1)
            row.append((size, float((answers == data.test.labels).double().mean())))
    record = {"command": " ".join(["python", *sys.argv]), "processor": torch.backends.cpu.get_cpu_capability()}
    record |= {"processor_seconds": round(time.process_time() - began), "rows": rows}
    print(table(record))
    if out:
        out.write_text(json.dumps(record) + "\n")
    return record


if __name__ == "__main__":
    tyro.cli(main)
