"""The paper's contrastive loss of two modalities, from the fixtures' definition."""

import torch.nn.functional as F

from make import losses

TEMPERATURE = 0.07


def one_way(rows, columns):
    logits = F.normalize(rows, dim=1) @ F.normalize(columns, dim=1).T / TEMPERATURE
    return losses.pair_rows(logits, "exclude_positive", True).mean()


def both_ways(one, other):
    """The mean over the two ordered pairs, from one matrix of logits."""
    logits = F.normalize(one, dim=1) @ F.normalize(other, dim=1).T / TEMPERATURE
    return sum(losses.pair_rows(way, "exclude_positive", True).mean() for way in (logits, logits.T)) / 2
