"""What a network trained on a distilled set tells about the real images: `python examples/privacy.py [--quick]`."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import torch
import tyro
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import datastill
from datastill import Config, LoopSettings, Protocol, RealData
from datastill.methods.distribution_matching import DistributionMatching
from datastill.methods.selection import RandomReal

NETWORK = "convnet(width=8,depth=2)"
METHODS = {
    "all members": None,
    "100 random members": RandomReal(mirror=False, program="shuffled-300-adam"),
    "a set that began as members": DistributionMatching(examples_rate=10.0, mirror=False),
    "a set that began as noise": DistributionMatching(examples_rate=10.0, mirror=False, start_from="noise"),
}


def on_images(model: nn.Module, data: RealData, epochs: int) -> None:
    optimiser = torch.optim.Adam(model.parameters(), 1e-3)
    for which in (some for _ in range(epochs) for some in torch.randperm(len(data.train)).split(25)):
        optimiser.zero_grad()
        cross_entropy(model(data.normalise(data.train.images[which])), data.train.labels[which]).backward()
        optimiser.step()


def attacks(logits: Tensor, labels: Tensor, members: Tensor, sought: Tensor) -> list[float]:
    """Return the area under the ROC curve of LiRA (Carlini et al. 2022) on each network, for the sought members."""
    own = torch.zeros_like(logits, dtype=torch.bool).scatter(2, labels.expand(len(logits), -1)[..., None], True)
    odds, pairs = logits[own].view(members.shape) - logits.masked_fill(own, -torch.inf).logsumexp(2), len(members) // 2
    found = []
    for i, mine in enumerate(members):
        others = torch.arange(len(odds)) % pairs != i % pairs  # as many that saw an image as others, for every image
        seen, which = members[others].float(), sought[i] | ~mine
        inside, outside = ((odds[others] * each).sum(0) / each.sum(0) for each in (seen, 1 - seen))
        found.append(float(roc_auc_score(mine[which], ((odds[i] - outside) ** 2 - (odds[i] - inside) ** 2)[which])))
    return found


def table(record: dict) -> str:
    lines = ["| trained on | accuracy | attack on all | on near ones | near one | n |", "|---|---|---|---|---|---|"]
    for name, row in record["rows"].items():
        cells = [f"{fmean(each) * 100:.1f} ± {stdev(each) * 100:.1f} %" if each else "" for each in row.values()]
        lines.append(f"| {name} | {' | '.join(cells)} | {len(row['accuracy'])} |")
    return "\n".join(lines)


def main(*, out: Path | None = None, quick: bool = False) -> dict:
    began, data = time.process_time(), datastill.load_data("digits" if quick else "fashion_mnist")
    count, iterations, epochs, pairs = (400, 1, 1, 2) if quick else (1000, 60, 20, 4)
    data = replace(data, train=data.train.spaced(count), test=data.test.spaced(2000))
    ranks = torch.stack([torch.randperm(count, generator=torch.Generator().manual_seed(i)) for i in range(pairs)])
    members = torch.cat([ranks < count // 2, ranks >= count // 2])  # an image is a member for half of the networks
    images, rows = data.normalise(data.train.images), {}
    config = Config(data=data.settings, network=NETWORK, protocol=Protocol(networks=1, epochs=1))
    for name, method in METHODS.items():
        logits, near, row = [], [], {"accuracy": [], "attack": [], "near": [], "nearest": []}
        for seed, mine in enumerate(members):
            torch.manual_seed(seed)
            model = datastill.build_network(NETWORK, shape=data.shape, classes=data.classes).factory()
            private = replace(data, train=data.train.take(mine.nonzero()[:, 0]))
            if method:
                loop = LoopSettings(iterations=iterations, average=0) if method.rates() else LoopSettings()
                one = datastill.distill(replace(config, method=method, loop=loop, seed=seed), data=private)
                program = replace(one.program, order=replace(one.program.order, epochs=2 * epochs))
                one.fit(model, program=program, seed=seed)
                nearest = torch.cdist(one.inputs.flatten(1), images.flatten(1)).argmin(1)
                row["nearest"].append(float(mine[nearest].double().mean()))
                near.append(torch.zeros(count, dtype=torch.bool).index_fill(0, nearest, True) & mine)
            else:
                on_images(model, private, epochs)
                near.append(mine)
            with torch.no_grad():
                logits.append(model(images))
                right = model(data.normalise(data.test.images)).argmax(1) == data.test.labels
            row["accuracy"].append(float(right.double().mean()))
        found = torch.stack(logits), data.train.labels, members
        rows[name] = row | {"attack": attacks(*found, members), "near": attacks(*found, torch.stack(near))}
    record = {"command": " ".join(["python", *sys.argv]), "processor": torch.backends.cpu.get_cpu_capability()}
    record |= {"processor_seconds": round(time.process_time() - began), "rows": rows}
    print(table(record))
    if out:
        out.write_text(json.dumps(record) + "\n")
    return record


if __name__ == "__main__":
    tyro.cli(main)
