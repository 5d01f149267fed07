"""Loss of the descriptor: identity and view of class tokens, and the fit of patch tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ism_ros.descriptors.tiny.descriptor_network import IDENTITY_WIDTH, VIEW_WIDTH

CLASS_TEMPERATURE, PATCH_TEMPERATURE = 0.07, 0.07
"""Temperatures of the identity of class tokens and of the fit of patch tokens."""
VIEW_TEMPERATURE, TOKEN_TEMPERATURE = 0.1, 0.04
"""Temperatures of the view, by the view part and by the whole of class tokens."""


def loss_of(tokens: Tensor, patches: Tensor, valid: Tensor, owner: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """Compute the parts of the loss.

    The class token must be nearer to templates of its object from about the same view than to all templates of other
    objects (InfoNCE, van den Oord et al., 2018); its view part, and the whole token, nearest to the right view of its
    own; the patch tokens must fit the right template better than the most similar wrong ones.

    Args:
        tokens: (B, D) unit rows, Q of crops, then T of templates.
        patches: (B, P, C) unit rows.
        valid: (B, P) bool, patches inside the mask.
        owner: (B,) index of the object of each row.
        weight: (Q, T) how well a template shows what a crop shows, 1 = the same view, 0 = another view or object.

    Returns:
        Scalars by name, already weighted.
    """
    queries = len(weight)
    own = owner[:queries, None] == owner[None, queries:]
    identities, views = (F.normalize(part, dim=1) for part in tokens.split([IDENTITY_WIDTH, VIEW_WIDTH], dim=1))
    similarity = identities[:queries] @ identities[queries:].T
    logits = similarity / CLASS_TEMPERATURE
    # templates of the own object seen from elsewhere are neither right nor wrong
    right = logits + torch.log(weight.clamp(min=1e-4))
    right = right.masked_fill(~own | (weight < 0.05), -1e4)
    wrong = logits.masked_fill(own, -1e4)
    identity = torch.logsumexp(torch.cat([right, wrong], dim=1), dim=1) - torch.logsumexp(right, dim=1)

    # the best template is that of the highest cosine of whole tokens, so these learn the view as well
    target = weight * own
    target = target / target.sum(dim=1, keepdim=True).clamp(min=1e-6)
    view = torch.zeros(queries, device=tokens.device)
    for part, temperature in ((views, VIEW_TEMPERATURE), (tokens, TOKEN_TEMPERATURE)):
        among_own = (part[:queries] @ part[queries:].T / temperature).masked_fill(~own, -1e4)
        view = view - 0.5 * (target * F.log_softmax(among_own, dim=1)).sum(dim=1)

    best = weight.masked_fill(~own, -1).argmax(dim=1, keepdim=True)
    hard = similarity.detach().masked_fill(own, -2).topk(3, dim=1).indices
    candidates = torch.cat([best, hard], dim=1)
    scores = appearance(patches[:queries], valid[:queries], patches[queries:][candidates])
    patch = F.cross_entropy(scores / PATCH_TEMPERATURE, torch.zeros(queries, dtype=torch.long, device=tokens.device))
    return {"identity": identity.mean(), "view": 1.0 * view.mean(), "patch": 0.5 * patch}


def appearance(query: Tensor, valid: Tensor, templates: Tensor) -> Tensor:
    """Compute the mean over valid patches of the best cosine with a template's patches.

    Args:
        query: (Q, P, C) unit rows.
        valid: (Q, P) bool.
        templates: (Q, K, P, C) unit rows.

    Returns:
        (Q, K) scores.
    """
    count, k, size, width = templates.shape
    similarity = query @ templates.reshape(count, k * size, width).transpose(1, 2)
    best = similarity.view(count, size, k, size).amax(dim=3)
    return (best * valid[:, :, None]).sum(dim=1) / valid.sum(dim=1).clamp(min=1)[:, None]
