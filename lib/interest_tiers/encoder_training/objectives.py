"""Training objectives of a language model: the losses of a batch, also where several processes share the batch.

They implement training.loop.Objective and run in the training processes, without Spark.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import nn

from interest_tiers.config import FineTuning
from interest_tiers.embedding.encoder import pooled
from interest_tiers.embedding.model_folder import ModelFolder, Pooling
from interest_tiers.encoder_training.training_rows import padded
from interest_tiers.errors import ConfigError

if TYPE_CHECKING:
    import pyarrow as pa

#: Target that does not count; the default of torch's cross entropy.
IGNORED = -100


def objective_of(settings: FineTuning, folder: ModelFolder, device: str) -> Contrastive | NextToken:
    """Load the model of a folder for an objective. Raises ConfigError where it lacks what the objective needs."""
    kind = Contrastive if settings.objective == "contrastive" else NextToken
    return kind(folder, settings, device)


def loaded_model(folder: ModelFolder, objective: str) -> Any:
    """Load the network of a folder in fp32, with its language-model head where the objective needs one."""
    from transformers import AutoModel, AutoModelForCausalLM

    kind = AutoModel if objective == "contrastive" else AutoModelForCausalLM
    # fp32 is the default, whatever type the file has.
    loaded: Any = kind.from_pretrained(folder.path, trust_remote_code=False, use_safetensors=True, output_loading_info=True)
    model, info = loaded
    head = [name for name in info["missing_keys"] if "head" in name]
    if objective == "next_token" and head:
        raise ConfigError(f"embedding.model: {folder.path} has no weights for the next token ({', '.join(head)})")
    return model


class _OfLanguageModel:
    """Base of both objectives: a model that is loaded from a folder and saved to one."""

    model: Any
    network: nn.Module

    #: A model may have parts that the vector does not depend on, such as the pooler of a BERT.
    has_unused_parameters = True

    def __init__(self, settings: FineTuning, device: str) -> None:
        self._settings = settings
        self._device = device
        self.has_dropout = settings.dropout

    def save(self, path: Path) -> None:
        self.model.save_pretrained(path, safe_serialization=True)


class Contrastive(_OfLanguageModel):
    """InfoNCE with in-batch negatives: each anchor must identify its positive among the positives of the batch.

    It equals sentence-transformers' MultipleNegativesRankingLoss with scale 1 / temperature, but masks false negatives.
    A text is a negative as often as it is a positive, so frequent texts are pushed away from every anchor.
    frequency_correction undoes that (logQ correction).
    Sources: van den Oord et al., Representation Learning with Contrastive Predictive Coding, 2018;
    Henderson et al., Efficient Natural Language Response Suggestion, 2017;
    Yi et al., Sampling-Bias-Corrected Neural Modeling for Large Corpus Item Recommendations, 2019.
    """

    def __init__(self, folder: ModelFolder, settings: FineTuning, device: str) -> None:
        super().__init__(settings, device)
        self.model = loaded_model(folder, "contrastive").to(device)
        self.network = TextVectors(self.model, folder.pooling)

    def training_loss(self, network: nn.Module, rows: pa.Table) -> tuple[torch.Tensor, float]:
        # Each process sees all vectors, but only its own carry a gradient. Summed over processes, that is the gradient of the batch.
        anchors, positives = (gathered(vectors) for vectors in self._vectors(network, rows))
        loss = self._loss(anchors, positives, [gathered(column) for column in self._columns(rows)])
        return loss * processes(), loss.item()

    def validation_loss(self, network: nn.Module, rows: pa.Table) -> tuple[float, int]:
        anchors, positives = self._vectors(network, rows)
        loss = self._loss(anchors, positives, self._columns(rows))
        return loss.item() * len(rows), len(rows)

    def _loss(self, anchors: torch.Tensor, positives: torch.Tensor, columns: list[torch.Tensor]) -> torch.Tensor:
        *keys, log_frequency = columns
        discount = self._settings.frequency_correction * log_frequency
        return contrastive_loss(anchors, positives, false_negatives(*keys), self._settings.temperature, discount)

    def _columns(self, rows: pa.Table) -> list[torch.Tensor]:
        names = ("anchor_text", "positive_text", "basket", "log_frequency")
        return [torch.tensor(rows[name].to_numpy(), device=self._device) for name in names]

    def _vectors(self, network: nn.Module, rows: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed anchors and positives in one call: DistributedDataParallel allows one forward pass per backward pass."""
        both = [rows[name].combine_chunks() for name in ("anchor", "positive")]
        ids, mask = (torch.from_numpy(array).to(self._device) for array in padded(_chunked(both)))
        vectors = network(ids, mask)
        return vectors[: len(rows)], vectors[len(rows) :]


class NextToken(_OfLanguageModel):
    """Causal language modelling: the mean negative log-likelihood of each token given those before it."""

    def __init__(self, folder: ModelFolder, settings: FineTuning, device: str) -> None:
        super().__init__(settings, device)
        self.model = loaded_model(folder, "next_token").to(device)
        self.network = TokenLosses(self.model)

    def training_loss(self, network: nn.Module, rows: pa.Table) -> tuple[torch.Tensor, float]:
        total = network(*self._tokens(rows))
        n_tokens = torch.tensor([self._n_foretold(rows)], dtype=torch.float64, device=self._device)
        shared = torch.cat([total.detach().double().reshape(1), n_tokens])
        if processes() > 1:
            dist.all_reduce(shared)
        return total * (processes() / shared[1]), (shared[0] / shared[1]).item()

    def validation_loss(self, network: nn.Module, rows: pa.Table) -> tuple[float, int]:
        return network(*self._tokens(rows)).item(), self._n_foretold(rows)

    def _tokens(self, rows: pa.Table) -> tuple[torch.Tensor, torch.Tensor]:
        """Return token ids and their mask, both (blocks, tokens); the mask is 0 where the last block is padded."""
        ids = torch.from_numpy(padded(rows["tokens"])[0]).to(self._device)
        return ids.clamp(min=0), (ids >= 0).long()

    def _n_foretold(self, rows: pa.Table) -> int:
        return int((padded(rows["tokens"])[0][:, 1:] >= 0).sum())


class TextVectors(nn.Module):
    """Maps token ids and mask, (texts, tokens), to vectors of L2 norm 1, (texts, width)."""

    def __init__(self, model: Any, pooling: Pooling) -> None:
        super().__init__()
        self.model = model
        self._pooling = pooling

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return nn.functional.normalize(pooled(hidden, mask, self._pooling), dim=1)


class TokenLosses(nn.Module):
    """Maps token ids and mask, (blocks, tokens), to the summed loss of all tokens but the first of each block."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        logits = self.model(input_ids=ids[:, :-1], attention_mask=mask[:, :-1]).logits.float()
        targets = ids[:, 1:].masked_fill(mask[:, 1:] == 0, IGNORED)
        return nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="sum")


def contrastive_loss(
    anchors: torch.Tensor, positives: torch.Tensor, not_negative: torch.Tensor, temperature: float, discount: torch.Tensor
) -> torch.Tensor:
    """Compute the mean over pairs of -ln softmax(cosine / temperature - discount), at the pair's own positive.

    anchors, positives: (pairs, width), L2 norm 1
    not_negative:       bool (pairs, pairs), true where the positive of a column is masked for the anchor of a row
    discount:           (pairs,), of each positive
    """
    scores = (anchors.float() @ positives.float().T / temperature - discount).masked_fill(not_negative, -torch.inf)
    return nn.functional.cross_entropy(scores, torch.arange(len(scores), device=scores.device))


def false_negatives(anchor_text: torch.Tensor, positive_text: torch.Tensor, basket: torch.Tensor) -> torch.Tensor:
    """Find the positives of a batch that are no negatives of an anchor: its own text, its positive, texts of its basket.

    anchor_text, positive_text, basket: int64 (pairs,)
    Returns: bool (pairs, pairs), anchors by positives; false for a pair's own positive
    """
    same = (positive_text[None, :] == positive_text[:, None]) | (positive_text[None, :] == anchor_text[:, None])
    left_out = same | (basket[None, :] == basket[:, None])
    return left_out & ~torch.eye(len(basket), dtype=torch.bool, device=basket.device)


def processes() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def gathered(own: torch.Tensor) -> torch.Tensor:
    """Gather the rows of all processes in the order of their ranks; only those of this process keep their gradient."""
    if processes() == 1:
        return own
    parts = [torch.empty_like(own) for _ in range(processes())]
    dist.all_gather(parts, own.detach().contiguous())
    parts[dist.get_rank()] = own
    return torch.cat(parts)


def _chunked(arrays: list[pa.ListArray]) -> pa.ChunkedArray:
    import pyarrow

    return pyarrow.chunked_array(arrays)
