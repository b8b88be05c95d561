"""Steps as lists of operations without autograd, cut into gradient and way back, and compiled if wanted.

The gradient and the way back are traced together, reverse over reverse, as one function F(theta, x, y, u). Operations
that do not depend on u compute the gradient. Their results that the other operations need are kept for the way back.
If a compiler cut the graph, it would keep masks instead of activations, and storing masks is slow on CPUs.
Here x and y stand for all tensors of a batch, each of which may be learned.
"""

import functools
import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, fx
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functionalize, grad
from torch.fx.experimental.proxy_tensor import make_fx

from ..errors import UserError
from ..recorded import recorded
from .steps import INPUTS, Back, EagerSteps, InnerLoss, Mixed, OnReal, RealLoss, Steps, Weights


class Untraceable(UserError):  # noqa: N818 (the name says it without "Error")
    """The error for steps of a network that cannot be traced, or that cannot be compiled on this machine."""


aten = torch.ops.aten
Graph = Callable[..., Any]


class TracedSteps(Steps):
    """The steps of an inner loss, traced once per shape of the arguments.

    Args:
        loss: inner loss of each network, a pure function of tensors.
        compiled: compile the traces by `torch.compile`, which takes tens of seconds per shape on CPU.

    The methods raise `Untraceable` if a network cannot be traced or there is no compiler.
    """

    def __init__(self, loss: InnerLoss, *, compiled: bool = False) -> None:
        self.loss, self.compiled = loss, compiled
        self._graphs: dict[Any, Any] = {}

    def gradient(self, thetas: Weights, batch: Any) -> Weights:
        """Return dl/dtheta of each network."""
        batch = [each.contiguous() for each in batch]
        found = self._found("gradient", (thetas, *batch), self._trace_gradient)
        return found(thetas, *batch)

    def linearise(self, thetas: Weights, batch: Any, wanted: Sequence[str] = INPUTS) -> tuple[Weights, Back]:
        """Return the gradient and the way back, which holds the activations that it needs."""
        batch = batch._make(each.contiguous() for each in batch)
        trace = functools.partial(self._trace_both, [batch._fields.index(name) for name in wanted])
        forward, backward = self._found(("linearise", *wanted), (thetas, *batch), trace)
        gradient, *kept = forward(thetas, *batch)

        def back(u: Tensor) -> tuple[Tensor, Mixed]:
            hessian_u, *mixed = backward(thetas, *batch, u.contiguous(), *kept)
            return hessian_u, dict(zip(wanted, mixed, strict=True))

        return gradient, back

    def differentiate(
        self, objective: Callable[[Tensor], Tensor], thetas: Weights
    ) -> tuple[Float[Tensor, " networks"], Weights]:
        """Return the objective of each network and its gradient; an objective on real images is traced."""
        if not isinstance(objective, OnReal):
            return EagerSteps(self.loss).differentiate(objective, thetas)
        arguments = (thetas, objective.images.contiguous(), objective.labels)
        found = self._found(objective.loss, arguments, functools.partial(self._trace_objective, objective.loss))
        gradient, values = found(*arguments)
        return values, gradient

    def _found(self, what: object, arguments: tuple[Tensor, ...], trace: Callable[..., Any]) -> Any:
        """Return the graphs for arguments of these shapes, types and device, made at the first call."""
        key = (what, *((tuple(a.shape), a.dtype, a.device) for a in arguments))
        if key not in self._graphs:
            try:
                with torch.no_grad():
                    self._graphs[key] = trace(*(a.detach() for a in arguments))
            except Exception as error:  # tracing and compiling raise many kinds
                reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
                raise Untraceable(
                    f"steps cannot be {'compiled' if self.compiled else 'traced'} here ({reason}); "
                    "take execution=eager, or auto"
                ) from error
        return self._graphs[key]

    def _trace_gradient(self, *arguments: Tensor) -> Graph:
        def gradient(thetas: Tensor, *batch: Tensor) -> Tensor:
            return grad(lambda weights: self.loss(weights, *batch).sum())(thetas)

        return self._finished(traced(gradient, *arguments), *arguments)

    def _trace_objective(self, loss: RealLoss, thetas: Tensor, images: Tensor, labels: Tensor) -> Graph:
        def both(thetas: Tensor, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
            def total(weights: Tensor) -> tuple[Tensor, Tensor]:
                values = loss(weights, images, labels)
                return values.sum(), values

            return grad(total, has_aux=True)(thetas)

        return self._finished(traced(both, thetas, images, labels), thetas, images, labels)

    def _trace_both(self, wanted: Sequence[int], thetas: Tensor, *batch: Tensor) -> tuple[Graph, Graph]:
        """Trace the gradient and the way back to the weights and the tensors of the batch at the places `wanted`."""

        def both(thetas: Tensor, *others: Tensor) -> tuple[Tensor, ...]:
            *batch, u = others

            def along(weights: Tensor, *batch: Tensor) -> tuple[Tensor, Tensor]:
                gradient = grad(lambda w: self.loss(w, *batch).sum())(weights)
                return (gradient * u).sum(), gradient

            places = (0, *(place + 1 for place in wanted))
            (hessian_u, *mixed), gradient = grad(along, argnums=places, has_aux=True)(thetas, *batch)
            return gradient, hessian_u, *mixed

        u = torch.ones_like(thetas)
        forward, backward = cut(traced(both, thetas, *batch, u), is_pointwise if self.compiled else is_view)
        forward = self._finished(forward, thetas, *batch)
        _, *kept = forward(thetas, *batch)
        return forward, self._finished(backward, thetas, *batch, u, *kept)

    def _finished(self, graph: fx.GraphModule, *arguments: Tensor) -> Graph:
        if not self.compiled:
            return recorded(without_grad(graph), arguments)
        compiled = without_grad(torch.compile(opaque_pools(graph), dynamic=False))
        compiled(*arguments)  # compiles now, so that an error appears here
        return recorded(compiled, arguments)


def without_grad(graph: Graph) -> Graph:
    """Return a function that calls `graph` outside of autograd."""

    def run(*arguments: Tensor) -> Any:
        with torch.no_grad():
            return graph(*(argument.detach() for argument in arguments))

    return run


def traced(function: Callable[..., Any], *arguments: Tensor) -> fx.GraphModule:
    """Trace a function of tensors and return its operations as a list, without branches.

    Raises:
        RuntimeError: the shape of a result depends on values.
    """
    with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):  # else one is made for every result
        plain = make_fx(function)(*arguments)  # `functionalize` does not know functions with derivatives of their own
        graph = make_fx(functionalize(plain))(*arguments)
    for node in graph.graph.nodes:
        if _sized_by_values(node):
            raise RuntimeError(f"the shape of the result of {node.target} depends on values")
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _sized_by_values(node: fx.Node) -> bool:
    if node.target is aten.index.Tensor:  # an index of numbers has a fixed result shape, a mask has not
        return any(at.meta["val"].dtype in (torch.bool, torch.uint8) for at in node.all_input_nodes[1:])
    return torch.Tag.dynamic_output_shape in getattr(node.target, "tags", ())


VIEWS = frozenset(
    (
        aten.view.default,
        aten.t.default,
        aten.permute.default,
        aten.slice.Tensor,
        aten.select.int,
        aten.detach.default,
        aten.split_with_sizes.default,
        aten.transpose.int,
        aten.expand.default,
        aten.unsqueeze.default,
        aten.squeeze.dim,
    )
)
"""Operations that cost no time to repeat."""


def is_view(node: fx.Node) -> bool:
    """Return whether repeating an operation costs no time."""
    if node.target is operator.getitem:  # one of several results of an operation
        return is_view(node.all_input_nodes[0])
    return node.op == "get_attr" or node.target in VIEWS


def is_pointwise(node: fx.Node) -> bool:
    """Return whether repeating a compiled operation costs little: it joins a kernel that reads its arguments anyway."""
    return is_view(node) or torch.Tag.pointwise in getattr(node.target, "tags", ())


def cut(graph: fx.GraphModule, repeats: Callable[[fx.Node], bool]) -> tuple[fx.GraphModule, fx.GraphModule]:
    """Split a traced (theta, x, y, u) -> (g, H u, d<g, u>/dx, ...) into what comes before u and what comes after.

    Args:
        graph: the trace.
        repeats: says whether the second part repeats an operation; results of other operations are kept.

    Returns:
        (theta, x, y) -> (g, *kept) and (theta, x, y, u, *kept) -> (H u, d<g, u>/dx, ...).
    """
    nodes = list(graph.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    inner = [node for node in nodes if node.op not in ("placeholder", "output")]
    gradient, *rest = nodes[-1].args[0]
    late = {inputs[-1]}
    for node in inner:
        if late.intersection(node.all_input_nodes):
            late.add(node)
    repeated, kept = _needed([*(node for node in inner if node in late), *rest], late.union(inputs), repeats)
    before = _part(graph, inputs[:-1], [], [node for node in inner if node not in late], [gradient, *kept])
    after = _part(graph, inputs, kept, [node for node in inner if node in late or node in repeated], rest)
    return before, after


def _needed(
    last: list[fx.Node], there: set[fx.Node], repeats: Callable[[fx.Node], bool]
) -> tuple[set[fx.Node], list[fx.Node]]:
    """Return the nodes that `last` needs and `there` lacks: nodes to repeat, and nodes to keep."""
    repeated: set[fx.Node] = set()
    kept: dict[fx.Node, None] = {}
    pending = [each for node in last for each in (node.all_input_nodes if node in there else [node])]
    while pending:
        node = pending.pop()
        if node in there or node in repeated or node in kept:
            continue
        if repeats(node):
            repeated.add(node)
            pending += node.all_input_nodes
        else:
            kept[node] = None
    return repeated, list(kept)


def _part(
    graph: fx.GraphModule, given: list[fx.Node], kept: list[fx.Node], body: list[fx.Node], out: list[fx.Node]
) -> fx.GraphModule:
    part, known = fx.Graph(), {}
    for node in given:
        known[node] = part.node_copy(node)
    for i, node in enumerate(kept):
        known[node] = part.placeholder(f"kept_{i}")
    for node in body:
        known[node] = part.node_copy(node, known.__getitem__)
    part.output([known[node] for node in out])
    module = fx.GraphModule(graph, part)
    module.graph.eliminate_dead_code()
    module.recompile()
    return module


# For the gradient of max-pooling with overlapping windows, the compiler searches all windows of each pixel. PyTorch's
# kernel is about ten times faster on CPU. In a custom operation, the compiler calls this kernel.


_WINDOWS = "int[] kernel, int[] stride, int[] padding, int[] dilation, bool ceil"
# Written as text, because older releases of PyTorch cannot read `list[int]` from a signature.


@torch.library.custom_op("datastill::max_pool", mutates_args=(), schema=f"(Tensor x, {_WINDOWS}) -> (Tensor, Tensor)")
def _max_pool(
    x: Tensor, kernel: list[int], stride: list[int], padding: list[int], dilation: list[int], ceil: bool
) -> tuple[Tensor, Tensor]:
    return aten.max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil)


@_max_pool.register_fake
def _(x, kernel, stride, padding, dilation, ceil):
    return aten.max_pool2d_with_indices(x, kernel, stride, padding, dilation, ceil)


@torch.library.custom_op(
    "datastill::max_pool_backward",
    mutates_args=(),
    schema=f"(Tensor gradient, Tensor x, {_WINDOWS}, Tensor indices) -> Tensor",
)
def _max_pool_backward(
    gradient: Tensor,
    x: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
    dilation: list[int],
    ceil: bool,
    indices: Tensor,
) -> Tensor:
    return aten.max_pool2d_with_indices_backward(gradient, x, kernel, stride, padding, dilation, ceil, indices)


@_max_pool_backward.register_fake
def _(gradient, x, kernel, stride, padding, dilation, ceil, indices):  # noqa: ARG001
    return torch.empty_like(x)


def opaque_pools(graph: fx.GraphModule) -> fx.GraphModule:
    """Replace max-pooling with overlapping windows by custom operations; return the changed graph."""
    defaults = ([], [0, 0], [1, 1], False)
    for node in graph.graph.nodes:
        if node.target is aten.max_pool2d_with_indices.default and _overlaps(*node.args[1:3]):
            node.target = torch.ops.datastill.max_pool.default
            node.args = (*node.args, *defaults[len(node.args) - 2 :])
        elif node.target is aten.max_pool2d_with_indices_backward.default and _overlaps(*node.args[2:4]):
            node.target = torch.ops.datastill.max_pool_backward.default
    graph.recompile()
    return graph


def _overlaps(kernel: list[int], stride: Sequence[int] = ()) -> bool:
    return max(kernel) > min(stride or kernel)
