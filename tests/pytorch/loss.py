"""The paper's contrastive loss of one modality against another, from the fixtures' definition."""

import torch.nn.functional as F

from make import losses

TEMPERATURE = 0.07


def one_way(rows, columns):
    logits = F.normalize(rows, dim=1) @ F.normalize(columns, dim=1).T / TEMPERATURE
    return losses.pair_rows(logits, "exclude_positive", True).mean()
