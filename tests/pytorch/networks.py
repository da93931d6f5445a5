"""The networks and MPUC's training step, as in `mpuc bench model`. Their definitions are the fixtures'."""

import re

import torch
from torch import nn

from loss import TEMPERATURE, one_way
from make import conformer, graphs, losses, sequences, systems

FEATURES = 512
BUDGET = 3.0
# VAVL's acoustic encoder.
CONFORMER = {"reduce": 50, "width": FEATURES, "heads": 8, "blocks": 3, "hidden": 2048, "kernel": 31}
YAN = [64] * 4 + [128] * 3 + [256] * 3


def single(net):
    """Constants of the graph networks are f64 in the fixtures."""
    if hasattr(net, "a"):
        net.a = net.a.float()
    return net


def face():
    # Here, since torchvision takes memory of its own.
    from make import faces

    return faces.full(FEATURES)


# Each network with its input. Where the definition turns features to the front, the input lies in memory so that
# nothing is copied for it.
NETWORKS = {
    "voice": lambda n, t: (sequences.Tcn(80, 64, 128, 5, 2, 3, FEATURES), torch.randn(n, 80, 128).transpose(1, 2)),
    "text": lambda n, t: (sequences.Text(300, 6, 5, 2048, FEATURES, False), torch.randn(n, 30, 300)),
    "landmarks": lambda n, t: (single(graphs.Yu(51, 30, 2, 64, 16, "add", 2.0, FEATURES)),
                               torch.randn(n, 2, 51, 30).permute(0, 3, 2, 1)),
    "landmarks-yan": lambda n, t: (single(graphs.Yan(68, 2, YAN, "spatial", 9, True, FEATURES)),
                                   torch.randn(n, 30, 68, 2)),
    "conformer": lambda n, t: (conformer.Conformer(1024, CONFORMER, conformer.by_padding), torch.randn(n, 150, 1024)),
    "face": lambda n, t: (face(), torch.randn(n, 3, t, 112, 112)),
}
MPUC = ["face", "landmarks", "voice", "text"]


def head():
    return sequences.Projection(FEATURES, 1024, FEATURES, False)


def sgd(module):
    return torch.optim.SGD(module.parameters(), lr=1e-3, momentum=0.9, weight_decay=1e-3)


def case(name):
    """What runs `NETWORK/PHASE/bN` or `NETWORK/PHASE/bN-tFRAMES` once, and for how long to repeat it."""
    found = re.fullmatch(r"([a-z-]+)/(fwd|fwd\+bwd|step)/b(\d+)(?:-t(\d+))?", name)
    if not found:
        return None
    subject, phase, batch, frames = found[1], found[2], int(found[3]), int(found[4] or 10)
    if subject == "mpuc":
        return whole(phase, batch, frames), BUDGET
    if subject == "cae":
        return autoencoder(batch), BUDGET
    if subject == "vavl":
        return vavl(batch), BUDGET
    if subject not in NETWORKS:
        return None
    return alone(subject, phase, batch, frames), BUDGET


def alone(subject, phase, batch, frames):
    """A network that is to meet fixed embeddings."""
    net, x = NETWORKS[subject](batch, frames)
    learner = nn.Sequential(net, head())
    target = torch.randn(batch, FEATURES)
    optimizer = sgd(learner)

    def forward():
        with torch.no_grad():
            net(x)

    def backward():
        optimizer.zero_grad(set_to_none=True)
        one_way(learner(x), target).backward()

    return {"fwd": forward, "fwd+bwd": backward, "step": followed_by(backward, optimizer)}[phase]


def whole(phase, batch, frames):
    """MPUC with four modalities that are to meet each other."""
    pairs = [NETWORKS[subject](batch, frames) for subject in MPUC]
    learners = nn.ModuleList(nn.Sequential(net, head()) for net, _ in pairs)
    inputs = [x for _, x in pairs]
    optimizer = sgd(learners)

    def forward():
        return losses.info_nce([learner(x) for learner, x in zip(learners, inputs)], TEMPERATURE, "exclude_positive",
                               "mean")

    def quiet():
        with torch.no_grad():
            forward()

    def backward():
        optimizer.zero_grad(set_to_none=True)
        forward().backward()

    return {"fwd": quiet, "fwd+bwd": backward, "step": followed_by(backward, optimizer)}[phase]


def autoencoder(batch):
    """The step of CAE-LR on 20 words of 409 features."""
    net, image = systems.Autoencoder([32, 64, 128], 15), torch.randn(batch, 1, 20, 409)
    optimizer = sgd(net)

    def backward():
        optimizer.zero_grad(set_to_none=True)
        nn.functional.mse_loss(net(image)[1], image).backward()

    return followed_by(backward, optimizer)


def vavl(batch, classes=6):
    """The step of VAVL in its published size: a pass for each modality, then one for the fusion head, whose inputs are
    frozen. Each module has an Adam of its own."""
    encoders, inputs = [], [torch.randn(batch, 150, width) for width in (1024, 1408)]
    for x in inputs:
        encoders.append(conformer.Conformer(x.shape[2], CONFORMER, conformer.by_padding))
    shared = conformer.Shared(CONFORMER | {"reduce": None, "blocks": 2}, conformer.by_padding)
    heads = [conformer.Layers(FEATURES, [512, 256], classes) for _ in inputs]
    rebuilders = [conformer.Layers(FEATURES, [512, 256], x.shape[2]) for x in inputs]
    fusion = conformer.Layers(2 * FEATURES, [512, 256], classes)
    labels = torch.arange(batch) % classes

    def adam(module):
        return torch.optim.Adam(module.parameters(), lr=5e-5, betas=(0.95, 0.999), weight_decay=5e-7)

    common, last = adam(shared), adam(fusion)
    passes = list(zip(inputs, encoders, heads, rebuilders,
                      [[adam(module) for module in modules] for modules in zip(encoders, heads, rebuilders)]))

    def step():
        for x, encoder, head, rebuilder, own in passes:
            optimizers = [*own, common]
            for optimizer in optimizers:
                optimizer.zero_grad(set_to_none=True)
            found = shared(encoder.train().steps(x))
            loss = nn.functional.cross_entropy(head(found), labels)
            (loss + 2.0 * nn.functional.mse_loss(rebuilder(found), x.mean(1))).backward()
            for optimizer in optimizers:
                optimizer.step()
        last.zero_grad(set_to_none=True)
        with torch.no_grad():
            shared.eval()
            found = torch.cat([shared(encoder.eval().steps(x)) for x, encoder, *_ in passes], dim=1)
            shared.train()
        nn.functional.cross_entropy(fusion(found), labels).backward()
        last.step()

    return step


def followed_by(backward, optimizer):
    def step():
        backward()
        optimizer.step()

    return step
