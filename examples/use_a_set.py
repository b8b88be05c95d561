"""Train your own network on a distilled set, and measure it: `python examples/use_a_set.py SET.safetensors`."""

import sys

import torch
from torch import nn

import datastill


def main(file: str) -> float:
    distilled = datastill.DistilledSet.load(file)
    data = datastill.load_data(distilled.header.data)

    # Any module that takes normalised images is possible. This is the network that the set was made for, with initial
    # weights from the initialiser of the set; fit() replaces them if the set stores fixed initial weights.
    network = datastill.build_network(distilled.header.network, shape=distilled.shape, classes=distilled.classes)
    model: nn.Module = network.factory()
    draw = torch.Generator().manual_seed(0)
    model.load_state_dict(network.named(network.init(distilled.header.start.drawn_by, [draw])[0]))

    distilled.fit(model)  # ordered steps, learned step sizes: a fraction of a second

    with torch.no_grad():
        right = model(distilled.normalise(data.test.images)).argmax(1) == data.test.labels
    accuracy = float(right.float().mean())
    print(f"{distilled.size} synthetic examples instead of {len(data.train)}: {accuracy:.2%} of the test images")
    return accuracy


if __name__ == "__main__":
    main(sys.argv[1])
