"""Bilevel problems whose exact hypergradient is known in closed form, real ones, and an independent way to get any.

With v = dL/dtheta_T, each of the first writes down theta_T as a function of (theta_0, x, eta) and differentiates that
by hand; nothing here runs the package's own training. All numbers are float64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from datastill.networks import build
from datastill.program import GradientDescent, Optimiser, Ordered, Program, Rule, train_stack
from datastill.training import Hypergradient, mean_loss

SMALL = {  # name, image shape: each network and norm at the smallest size where it is itself
    "lenet": (1, 28, 28),
    "alexcifarnet": (3, 32, 32),
    "mlp(width=7)": (1, 4, 4),
    "convnet(width=4,depth=2,norm=instance)": (2, 8, 8),
    "convnet(width=8,depth=2,norm=group)": (2, 8, 8),  # 4 groups, of 2 channels each
    "convnet(width=4,depth=2,norm=batch)": (2, 8, 8),
    "convnet(width=4,depth=2,norm=none)": (2, 8, 8),
    "resnet18(width=2)": (2, 16, 16),
    "resnet18(width=2,norm=instance)": (2, 16, 16),
    "textcnn(width=4,window=3)": (5, 3),
    "tests.problems:smooth": (1, 3, 3),
}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The arguments of `datastill.training.hypergradient` and its exact answer, where it is known."""

    loss: Callable[[Tensor, Tensor, Tensor], Tensor]
    objective: Callable[[Tensor], Tensor]
    thetas: Tensor
    examples: Tensor
    labels: Tensor
    step_sizes: Tensor
    exact: Hypergradient | None = None

    @property
    def arguments(self) -> tuple:
        return self.loss, self.objective, self.thetas, self.examples, self.labels, self.step_sizes


def parts(found: Hypergradient) -> dict[str, Tensor]:
    """All tensors of a hypergradient, by name."""
    return found.batches | {name: getattr(found, name) for name in ("objective", "step_sizes", "initial", "final")}


def unroll(
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    thetas: Tensor,
    examples: Tensor,
    labels: Tensor,
    step_sizes: Tensor,
    optimiser: Optimiser | None = None,
) -> Iterator[Tensor]:
    """The weights after each of the ordered steps, as evaluation trains them."""
    program = Program(order=Ordered(step_sizes=step_sizes), optimiser=optimiser or GradientDescent())
    return train_stack(loss, thetas, examples.flatten(0, 1), labels.flatten(0, 1), program)


def assert_same(found: Hypergradient, expected: Hypergradient, *, tolerance: float = 1e-9) -> None:
    """Every field agrees, relative to the largest entry of that field."""
    ours, theirs = parts(found), parts(expected)
    assert ours.keys() == theirs.keys()
    for name, b in theirs.items():
        scale = float(b.abs().max()) + 1e-12
        torch.testing.assert_close(
            ours[name], b, rtol=0, atol=tolerance * scale, msg=lambda text, name=name: f"{name}: {text}"
        )


def distance(targets: Tensor) -> Callable[[Tensor], Tensor]:
    """L(theta) = 0.5 |theta - target|^2 for each network, so that v = theta_T - target."""
    return lambda thetas: 0.5 * (thetas - targets).square().sum(1)


def _random(seed: int, networks: int, epochs: int, steps: int, batch: int, size: int) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    etas = 0.02 + 0.28 * torch.rand(epochs, steps, generator=g, dtype=torch.float64)
    return normal(networks, size), normal(networks, size), normal(steps, batch, 1, 1, size), etas, normal(steps, batch)


def quadratic(*, networks: int = 2, epochs: int = 2, steps: int = 3, batch: int = 2, size: int = 4, seed: int = 0):
    """l = 0.5 sum_b |theta - x_b|^2: weights are pulled to the examples.

    theta_{t+1} = (1 - b eta_t) theta_t + eta_t s_t with s_t the sum of the batch, hence, for
    P_t = prod_{k >= t} (1 - b eta_k),
    theta_T = P_0 theta_0 + sum_t eta_t P_{t+1} s_t,  dL/dtheta_0 = P_0 v,  dL/dx_s = sum_{t on step s} eta_t P_{t+1} v,
    dL/deta_t = <P_{t+1} v, s_t - b theta_t>.
    """
    thetas, targets, examples, etas, labels = _random(seed, networks, epochs, steps, batch, size)

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (theta[:, None] - x.flatten(2)).square().sum((1, 2))

    sums, eta = examples.flatten(2).sum(1).repeat(epochs, 1), etas.flatten()
    shrink = 1 - batch * eta
    after = [shrink[t + 1 :].prod() for t in range(epochs * steps)]
    before = [  # theta_t, each from theta_0 by its own closed form
        shrink[:t].prod() * thetas + sum(eta[k] * shrink[k + 1 : t].prod() * sums[k] for k in range(t))
        for t in range(epochs * steps + 1)
    ]
    v = before[-1] - targets
    d_eta = torch.stack([((sums[t] - batch * before[t]) * after[t] * v).sum(1) for t in range(epochs * steps)], 1)
    weight = (eta * torch.stack(after)).view(epochs, steps).sum(0)
    d_x = (weight.view(1, steps, 1, 1) * v.view(networks, 1, 1, size)).expand(networks, steps, batch, size)
    exact = Hypergradient(
        objective=0.5 * v.square().sum(1),
        batches={"inputs": d_x.reshape(networks, *examples.shape)},
        step_sizes=d_eta.view(networks, epochs, steps),
        initial=shrink.prod() * v,
        final=before[-1],
    )
    return Problem(
        loss=loss,
        objective=distance(targets),
        thetas=thetas,
        examples=examples,
        labels=labels,
        step_sizes=etas,
        exact=exact,
    )


def curvature(*, networks: int = 2, epochs: int = 2, steps: int = 3, batch: int = 2, size: int = 4, seed: int = 0):
    """l = 0.5 sum_bi x_bi theta_i^2: the examples are the Hessian, so a wrong H v or d<g, v>/dx shows at once.

    With a_s the sum of batch s and f_t = 1 - eta_t a_{s(t)}, elementwise: theta_T = theta_0 prod_t f_t,
    dL/dtheta_0 = v prod_t f_t, dL/dx_s = -sum_{t on step s} eta_t theta_0 v prod_{k != t} f_k, and
    dL/deta_t = -<a_{s(t)} theta_0 prod_{k != t} f_k, v>.
    """
    thetas, targets, examples, etas, labels = _random(seed, networks, epochs, steps, batch, size)
    length = epochs * steps

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return 0.5 * (x.flatten(2) * theta[:, None].square()).sum((1, 2))

    a, eta = examples.flatten(2).sum(1).repeat(epochs, 1), etas.flatten()
    f = 1 - eta[:, None] * a
    others = torch.stack([torch.cat([f[:t], f[t + 1 :]]).prod(0) for t in range(length)])
    final = thetas * f.prod(0)
    v = final - targets
    each = (thetas * v)[:, None] * others  # (networks, length, size)
    d_x = -(eta[:, None] * each).view(networks, epochs, steps, 1, size).sum(1)
    exact = Hypergradient(
        objective=0.5 * v.square().sum(1),
        batches={"inputs": d_x.expand(networks, steps, batch, size).reshape(networks, *examples.shape)},
        step_sizes=-(a * each).sum(2).view(networks, epochs, steps),
        initial=v * f.prod(0),
        final=final,
    )
    return Problem(
        loss=loss,
        objective=distance(targets),
        thetas=thetas,
        examples=examples,
        labels=labels,
        step_sizes=etas,
        exact=exact,
    )


def linear_regression(*, networks: int = 2, batch: int = 3, size: int = 4, seed: int = 0) -> Problem:
    """One step on l = 0.5 sum_b (<x_b, theta> - y_b)^2. With r = X theta - y: g = X' r, H v = X' X v and
    d<g, v>/dx_b = r_b v + <x_b, v> theta."""
    return _one_step(
        seed,
        networks,
        batch,
        size,
        value=lambda z, y: 0.5 * (z - y).square(),
        first=lambda z, y: z - y,
        second=lambda z, y: torch.ones_like(z),
        classes=False,
    )


def logistic_regression(*, networks: int = 2, batch: int = 3, size: int = 4, seed: int = 0) -> Problem:
    """One step on l = sum_b log(1 + exp(z_b)) - y_b z_b, z = X theta. With p = sigmoid(z): g = X' (p - y),
    H v = X' diag(p (1 - p)) X v and d<g, v>/dx_b = (p_b - y_b) v + p_b (1 - p_b) <x_b, v> theta."""
    return _one_step(
        seed,
        networks,
        batch,
        size,
        value=lambda z, y: (1 + z.exp()).log() - y * z,
        first=lambda z, y: 1 / (1 + (-z).exp()) - y,
        second=lambda z, y: 1 / (2 + z.exp() + (-z).exp()),
        classes=True,
    )


def _one_step(seed, networks, batch, size, *, value, first, second, classes) -> Problem:
    """A generalised linear model l = sum_b value(<x_b, theta>, y_b), one step from theta_0."""
    thetas, targets, examples, etas, labels = _random(seed, networks, 1, 1, batch, size)
    labels = labels.gt(0).double() if classes else labels
    X, y, eta = examples[0].flatten(1), labels[0], etas[0, 0]

    def loss(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return value(torch.einsum("nbs,ns->nb", x.flatten(2), theta), y).sum(1)

    z = thetas @ X.T  # (networks, batch)
    r, s = first(z, y), second(z, y)
    gradient = r @ X
    final = thetas - eta * gradient
    v = final - targets
    xv = v @ X.T
    d_x = -eta * (r[:, :, None] * v[:, None] + (s * xv)[:, :, None] * thetas[:, None])
    exact = Hypergradient(
        objective=0.5 * v.square().sum(1),
        batches={"inputs": d_x.view(networks, *examples.shape)},
        step_sizes=-(gradient * v).sum(1).view(networks, 1, 1),
        initial=v - eta * (s * xv) @ X,
        final=final,
    )
    return Problem(
        loss=loss,
        objective=distance(targets),
        thetas=thetas,
        examples=examples,
        labels=labels,
        step_sizes=etas,
        exact=exact,
    )


CLOSED_FORM = {
    "quadratic": quadratic,
    "curvature": curvature,
    "linear_regression": linear_regression,
    "logistic_regression": logistic_regression,
}


def classify(
    spec: str, shape: tuple, *, networks=2, epochs=2, steps=2, batch=3, classes=3, soft=False, eta=0.1, seed=0
) -> Problem:
    """Cross-entropy on the examples, cross-entropy on other images as the objective."""
    network = build(spec, shape=shape, classes=classes)
    thetas = network.init("xavier", [torch.Generator().manual_seed(seed + i) for i in range(networks)]).double()
    g = torch.Generator().manual_seed(seed + 100)

    def normal(*size: int):
        return torch.randn(*size, generator=g, dtype=torch.float64)

    labels = normal(steps, batch, classes).softmax(-1) if soft else torch.randint(classes, (steps, batch), generator=g)
    real, truth = normal(6, *shape), torch.randint(classes, (6,), generator=g)
    thetas = thetas + 0.05 * normal(*thetas.shape)  # no bias at exactly zero, no scale at exactly one

    def objective(finals):
        return torch.stack([cross_entropy(network.apply(theta, real), truth) for theta in finals])

    return Problem(
        loss=mean_loss(network),
        objective=objective,
        thetas=thetas,
        examples=normal(steps, batch, *shape),
        labels=labels,
        step_sizes=eta * (0.5 + torch.rand(epochs, steps, generator=g, dtype=torch.float64)),
    )


def naive(
    problem: Problem, optimiser: Rule | None = None, *, soft: bool = False, window: range | None = None
) -> Hypergradient:
    """The same by the shortest code there is: one graph through everything, one network at a time. `soft`: and for the
    labels. `window`: the gradient steps, as `hypergradient` takes them."""
    rows = []
    for i in range(problem.thetas.shape[0]):
        start = problem.thetas[i : i + 1].clone().requires_grad_()
        x, etas = problem.examples.clone().requires_grad_(), problem.step_sizes.clone().requires_grad_()
        y = problem.labels.clone().requires_grad_(soft)
        theta, state = start, optimiser.start(start) if optimiser else (start,)
        for t, eta in enumerate(etas.flatten()[: window.stop if window else None]):
            step = t % etas.shape[1]
            value = problem.loss(theta, x[step][None], y[step][None]).sum()
            (gradient,) = torch.autograd.grad(value, theta, create_graph=True)
            state = optimiser.update(state, gradient, eta, t) if optimiser else (theta - eta * gradient,)
            if window and t == window.start - 1:
                state = tuple(each.detach().requires_grad_() for each in state)
                start = state[0]
            theta = state[0]
        others = problem.thetas.detach()
        objective = problem.objective(torch.cat([others[:i], theta, others[i + 1 :]]))[i]
        learned = (x, y) if soft else (x,)
        d_eta, d_start, *d_batch = torch.autograd.grad(objective, (etas, start, *learned))
        rows.append((objective.detach(), d_eta, d_start[0], theta.detach()[0], *d_batch))
    objective, d_eta, d_start, final, *d_batch = (torch.stack(column) for column in zip(*rows, strict=True))
    batches = dict(zip(("inputs", "targets"), d_batch, strict=False))
    return Hypergradient(objective=objective, batches=batches, step_sizes=d_eta, initial=d_start, final=final)


def smooth(*, shape: tuple[int, int, int], classes: int, width: int = 6) -> nn.Module:
    """A network without kinks, for finite differences; also the tests' example of a user's own network."""
    size = shape[0] * shape[1] * shape[2]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(size, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, classes)
    )


PLACES = {"inputs": "examples", "targets": "labels"}
"""From the name of a tensor of a batch to its name in a `Problem`."""


def assert_differences(problem: Problem, found, objective, *, step: float, atol: float) -> None:
    """What was found is the central difference of `objective` (problem -> (networks,)) along random directions."""
    g = torch.Generator().manual_seed(77)
    gradients = {"thetas": found.initial, "step_sizes": found.step_sizes}
    gradients |= {PLACES[name]: gradient for name, gradient in found.batches.items()}
    for which, gradient in gradients.items():
        value = getattr(problem, which)
        for _ in range(3):
            direction = torch.randn(value.shape, generator=g, dtype=torch.float64)
            h = step / float(direction.norm())
            plus, minus = (objective(replace(problem, **{which: value + s * h * direction})) for s in (1, -1))
            along = (gradient * direction).flatten(1).sum(1)  # each network has its own gradient
            torch.testing.assert_close(
                along, (plus - minus) / (2 * h), rtol=1e-5, atol=atol, msg=lambda text, n=which: f"{n}: {text}"
            )
