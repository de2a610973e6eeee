"""Sizes of networks; apart from them, so that a command line starts without torch."""

from dataclasses import dataclass

from jsonargparse.typing import PositiveInt

from raclib.errors import UserError


@dataclass
class PerceiverConfig:
    """The Perceiver stages of the query generator and of the classifier."""

    width: PositiveInt = 512
    """Width of tokens and latents."""
    num_latents: PositiveInt = 128
    """Learned latents of a stage."""
    num_self_attention: PositiveInt = 2
    """Self-attention blocks after the one cross-attention block of a stage."""
    num_heads: PositiveInt = 8
    """Attention heads; must divide the width."""

    def __post_init__(self) -> None:
        if self.width % self.num_heads:
            raise UserError(
                f"model.num_heads: {self.num_heads} does not divide model.width {self.width}; "
                "choose a divisor"
            )
