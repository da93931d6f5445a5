"""Single operations, as in `mpuc bench ops`, in PyTorch's own layout: channels first."""

import torch
import torch.nn.functional as F

from loss import both_ways, one_way

BUDGET = 1.0
SPATIAL, TEMPORAL = (1, 3, 3), (3, 1, 1)
ONE, HALF = (1, 1, 1), (1, 2, 2)

# Channels, kernel, stride, frames and side of an input of two clips.
CONV3D = {
    "stem-1x7x7-3-45": (3, 45, (1, 7, 7), HALF, 16, 112),
    "stem-3x1x1-45-64": (45, 64, TEMPORAL, ONE, 16, 56),
    "s1-1x3x3-64-144": (64, 144, SPATIAL, ONE, 16, 56),
    "s1-3x1x1-144-64": (144, 64, TEMPORAL, ONE, 16, 56),
    "s2-1x3x3-64-230-down": (64, 230, SPATIAL, HALF, 16, 56),
    "s2-3x1x1-230-128-down": (230, 128, TEMPORAL, (2, 1, 1), 16, 28),
    "s2-1x3x3-128-288": (128, 288, SPATIAL, ONE, 8, 28),
    "s2-3x1x1-288-128": (288, 128, TEMPORAL, ONE, 8, 28),
    "s3-1x3x3-256-576": (256, 576, SPATIAL, ONE, 4, 14),
    "s3-3x1x1-576-256": (576, 256, TEMPORAL, ONE, 4, 14),
    "s4-1x3x3-512-1152": (512, 1152, SPATIAL, ONE, 2, 7),
    "s4-3x1x1-1152-512": (1152, 512, TEMPORAL, ONE, 2, 7),
    "full-3x3x3-64-64": (64, 64, (3, 3, 3), ONE, 8, 28),
}
# Input, weight and padding.
CONV2D = {
    "3x3-64-64-56": ((8, 64, 56, 56), (64, 64, 3, 3), (1, 1)),
    "9x1-64-64-graph": ((32, 64, 30, 68), (64, 64, 9, 1), (4, 0)),
    "1x3-64-192-graph": ((32, 64, 51, 28), (192, 64, 1, 3), (0, 0)),
}
NORMED = {"144x16x56x56": (2, 144, 16, 56, 56), "576x4x14x14": (2, 576, 4, 14, 14), "64x16x56x56": (2, 64, 16, 56, 56)}


def leaf(*shape):
    return torch.randn(*shape, requires_grad=True)


def numbers(text, separators="nhldcx-"):
    for separator in separators:
        text = text.replace(separator, " ")
    return [int(word) for word in text.split()]


# Each gives a function and the tensors whose gradients are wanted.


def conv3d(size):
    inputs, outputs, kernel, stride, frames, side = CONV3D[size]
    x, w = leaf(2, inputs, frames, side, side), leaf(outputs, inputs, *kernel)
    return lambda: F.conv3d(x, w, None, stride, [extent // 2 for extent in kernel]), [x, w]


def conv2d(size):
    shape, weight, padding = CONV2D[size]
    x, w = leaf(*shape), leaf(*weight)
    return lambda: F.conv2d(x, w, None, 1, padding), [x, w]


def depthwise(size):
    channels, dilation = numbers(size)
    x, w = leaf(32, channels, 128), leaf(channels, 1, 3)
    return lambda: F.conv1d(x, w, None, 1, dilation, dilation, channels), [x, w]


def pointwise(size):
    inputs, outputs = numbers(size)
    x, w = leaf(32, inputs, 128), leaf(outputs, inputs, 1)
    return lambda: F.conv1d(x, w), [x, w]


def graph(size):
    if size.startswith("yu"):
        a, x, theta = torch.rand(51, 51), leaf(32, 64, 51, 28), leaf(64, 16)
        return lambda: F.relu(torch.einsum("vw,ncwt->nvtc", a, x) @ theta), [x, theta]
    a, x, w = torch.rand(3, 68, 68, requires_grad=True), leaf(32, 64, 30, 68), leaf(3 * 64, 64, 1, 1)
    return lambda: torch.einsum("nkctv,kvw->nctw", F.conv2d(x, w).view(32, 3, 64, 30, 68), a), [x, w, a]


def attention(size):
    samples, heads, length, width = numbers(size)
    q, k, v = (leaf(samples, heads, length, width) for _ in range(3))
    return lambda: F.scaled_dot_product_attention(q, k, v), [q, k, v]


def batch_norm(size, relu=False, residual=False):
    x = leaf(*NORMED[size])
    channels = x.shape[1]
    w, b = (start(channels).requires_grad_() for start in (torch.ones, torch.zeros))
    mean, variance = torch.zeros(channels), torch.ones(channels)
    r = leaf(*x.shape) if residual else None

    def run():
        y = F.batch_norm(x, mean, variance, w, b, True, 0.1)
        # In place, as torchvision's network has it.
        y = y if r is None else y.add_(r)
        return F.relu(y, inplace=True) if relu else y

    return run, [x, w, b] + ([r] if residual else [])


def one(function, *shape):
    x = leaf(*shape)
    return lambda: function(x), [x]


def layer_norm(size):
    rows, width = numbers(size)
    x, w, b = leaf(rows, width), leaf(width), leaf(width)
    return lambda: F.layer_norm(x, (width,), w, b), [x, w, b]


def global_norm(size):
    samples, steps, channels = numbers(size)
    x, w, b = leaf(samples, channels, steps), leaf(channels), leaf(channels)
    return lambda: F.group_norm(x, 1, w, b, 1e-8), [x, w, b]


def prelu(size):
    x, w = leaf(*numbers(size)), torch.full((1,), 0.25, requires_grad=True)
    return lambda: F.prelu(x, w), [x, w]


def gate(size):
    samples, frames, points, channels = numbers(size)

    def run(x):
        p, q, r = x.chunk(3, dim=1)
        return F.relu(p + torch.sigmoid(q) + r)

    return one(run, samples, channels, points, frames)


def info_nce(loss):
    def of(size):
        rows, width = numbers(size)
        a, b = leaf(rows, width), leaf(rows, width)
        return lambda: loss(a, b), [a, b]

    return of


DIFFERENTIABLE = {
    "conv3d": conv3d,
    "conv2d": conv2d,
    "conv1d-depthwise": depthwise,
    "conv1d-pointwise": pointwise,
    "graph": graph,
    "attention": attention,
    "batchnorm3d": batch_norm,
    "batchnorm3d-relu": lambda size: batch_norm(size, relu=True),
    "batchnorm3d-residual-relu": lambda size: batch_norm(size, relu=True, residual=True),
    "relu": lambda size: one(F.relu, *NORMED[size]),
    "layernorm": layer_norm,
    "globalnorm": global_norm,
    "softmax": lambda size: one(lambda x: F.softmax(x, -1), *numbers(size)),
    "prelu": prelu,
    "gate": gate,
    "pool": lambda size: one(lambda x: F.adaptive_avg_pool3d(x, 1), 8, 512, 2, 7, 7),
    "mean": lambda size: one(lambda x: x.mean(2), 32, 64, 128),
    "infonce": info_nce(both_ways),
    # Half of that loss. mpuc has no such case; program.py runs it by name.
    "infonce-one-way": info_nce(one_way),
}


def product(size):
    sizes = numbers(size)
    rows, inner, columns = sizes if len(sizes) == 3 else sizes * 3
    a, b, out = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)
    return lambda: torch.mm(a, b, out=out)


def memory(kind):
    count = 64 << 20
    a, b = torch.randn(count), torch.randn(count)
    if kind == "sum-256MiB":
        return a.sum
    if kind == "copy-256MiB":
        return lambda: b.copy_(a)
    c = torch.empty(count)
    return lambda: torch.add(a, b, out=c)


def sgd(kind):
    parameters = [torch.randn(1000, 1000, requires_grad=True) for _ in range(60)]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-3, fused=True).step


def case(name):
    """What runs a case once, and for how long to repeat it."""
    group, _, rest = name.partition("/")
    alone = {"sgemm": product, "memory": memory, "sgd": sgd}
    if group in alone:
        return alone[group](rest), BUDGET
    size, _, phase = rest.rpartition("/")
    if group not in DIFFERENTIABLE or "/" in size:
        return None
    function, wanted = DIFFERENTIABLE[group](size)
    passes = {"fwd": forward, "bwd": backward, "fwd+bwd": both}
    return passes[phase](function, wanted), BUDGET


def forward(function, wanted):
    def run():
        with torch.no_grad():
            function()

    return run


def backward(function, wanted):
    y = function()
    dy = torch.randn_like(y)
    return lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)


def both(function, wanted):
    return lambda: torch.autograd.grad(function(), wanted)
