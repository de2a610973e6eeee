"""Needle in a haystack: data on the device, and how well queries find the needle."""

from functools import partial

import torch
from torch import Tensor

from raclib.batch import Batch, Split
from raclib.models.classifier import RetrievalClassifier
from raclib.retrieval.draw import draw
from raclib.tasks.generated import GeneratedTask
from raclib.tasks.needle.config import NeedleConfig


class NeedleTask(GeneratedTask):
    """Keys are normal, x a fixed linear map of the right row's key plus noise, bits fair coins."""

    item_fields = ("bits",)
    config: NeedleConfig

    def __init__(self, config: NeedleConfig) -> None:
        super().__init__(config)
        self.item_dim = config.item_bits
        generator = torch.Generator().manual_seed(config.seed)
        square = (config.key_dim, config.key_dim)
        self.map_Dd = torch.randn(square, generator=generator) * config.map_deviation

    @property
    def input_dims(self) -> tuple[int, int]:
        """Both the keys' width."""
        return self.config.key_dim, self.config.key_dim

    def rows_in_history(self, split: Split, first_row: int) -> int:
        """Rows in a history; in training perhaps fewer in the first steps."""
        config, step = self.config, first_row // self.config.train.batch_size
        if split != "train" or config.first_history_size is None:
            return config.history_size
        done = min(step / max(self.num_steps * config.growth_fraction, 1), 1.0)
        ratio = config.history_size / config.first_history_size
        return round(config.first_history_size * ratio**done)

    def make(self, split: Split, rows_B: Tensor, generator: torch.Generator) -> Batch:
        """Examples; `target` [B] is the row that holds the label."""
        config, device = self.config, generator.device
        batch, size = len(rows_B), self.rows_in_history(split, int(rows_B[0]))
        normal = partial(torch.randn, generator=generator, device=device)
        integer = partial(torch.randint, generator=generator, device=device)
        keys_BKd, noise_BD = normal((batch, size, config.key_dim)), normal((batch, config.key_dim))
        bits_BKF = integer(2, (batch, size, config.item_bits), dtype=torch.int8)
        target_B, example_B = integer(size, (batch,)), torch.arange(batch, device=device)
        x_BD = keys_BKd[example_B, target_B] @ self.map_Dd.to(device).T
        x_BD += config.noise_deviation * noise_BD
        label_B = bits_BKF[example_B, target_B, 0].long()
        named = {"x": x_BD, "key": x_BD, "label": label_B, "target": target_B}
        return {**named, "keys": keys_BKd, "bits": bits_BKF}

    @torch.no_grad()
    def diagnostics(
        self, model: RetrievalClassifier, temperature: float, device: torch.device
    ) -> dict[str, float]:
        """On fresh examples: the cross-entropy of the draw with the right row for its label, the
        draw's entropy, how often it hits, and how often the greedy row does."""
        if model.queries is None:
            return {}
        batch = self.load("validation", self.examples("validation")[: self.probe_size], device)
        queries_BSd, keys_BKd = model.queries(batch), batch["keys"]
        scale = None if self.config.retrieval.scale_logits else 1.0
        slope = (self.config.key_dim**-0.5 if scale is None else scale) / temperature
        generator = torch.Generator(device).manual_seed(self.config.seed)
        drawn = draw(queries_BSd, keys_BKd, temperature, generator=generator, scale=scale)
        assert drawn.greedy is not None
        example_B, target_B = torch.arange(len(keys_BKd), device=device), batch["target"]
        # log p of the right row from that of the row drawn: they differ by their logits.
        gap_Bd = keys_BKd[example_B, target_B] - keys_BKd[example_B, drawn.rows[:, 0]]
        log_prob_B = drawn.log_prob[:, 0] + slope * (queries_BSd[:, 0] * gap_Bd).sum(-1)
        return {
            "selection/cross_entropy": -log_prob_B.mean().item(),
            "selection/entropy": drawn.entropy[:, 0].mean().item(),
            "selection/hit_share": _share(drawn.rows, target_B),
            "selection/greedy_hit_share": _share(drawn.greedy, target_B),
        }

    @property
    def probe_size(self) -> int:
        """Examples behind the selection curves."""
        return min(self.config.evaluate.batch_size, self.config.validation_examples)


def _share(rows_BS: Tensor, target_B: Tensor) -> float:
    return (rows_BS == target_B[:, None]).any(-1).float().mean().item()
