"""A Perceiver stage: learned latents read tokens, then talk among themselves (2103.03206)."""

import torch
from torch import Tensor, nn


class AttentionBlock(nn.Module):
    """Pre-norm attention and MLP, each with a residual connection.

    Args:
        width: Width of latents and context.
        num_heads: Attention heads; divides the width.
        is_cross: Whether the context is other tokens, not the latents themselves.
    """

    def __init__(self, width: int, num_heads: int, is_cross: bool) -> None:
        super().__init__()
        self.norm_latents = nn.LayerNorm(width)
        self.norm_context = nn.LayerNorm(width) if is_cross else None
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.GELU(),
            nn.Linear(2 * width, width),
        )

    def forward(
        self,
        latents_BLW: Tensor,
        context_BNW: Tensor | None = None,
        hidden_BN: Tensor | None = None,
    ) -> Tensor:
        """Latents after attending to the context where it is not hidden, or to each other."""
        return self.attend(latents_BLW, context_BNW, hidden_BN, need_weights=False)[0]

    def attend(
        self,
        latents_BLW: Tensor,
        context_BNW: Tensor | None,
        hidden_BN: Tensor | None,
        need_weights: bool,
    ) -> tuple[Tensor, Tensor | None]:
        """The same, and the attention `[B, L, N]`, of all heads alike, where it is needed."""
        query_BLW = self.norm_latents(latents_BLW)
        context_BNW = self.norm_context(context_BNW) if self.norm_context else query_BLW
        attended_BLW, weight_BLN = self.attention(
            query_BLW,
            context_BNW,
            context_BNW,
            key_padding_mask=hidden_BN,
            need_weights=need_weights,
        )
        latents_BLW = latents_BLW + attended_BLW
        return latents_BLW + self.mlp(latents_BLW), weight_BLN


class PerceiverStage(nn.Module):
    """One cross-attention block and `num_self_attention` self-attention blocks over latents.

    Args:
        width: Width of tokens and latents.
        num_latents: Learned latents.
        num_self_attention: Self-attention blocks.
        num_heads: Attention heads; divides the width.
    """

    def __init__(
        self, width: int, num_latents: int, num_self_attention: int, num_heads: int
    ) -> None:
        super().__init__()
        self.latents_LW = nn.Parameter(torch.randn(num_latents, width) * 0.02)
        self.cross_attention = AttentionBlock(width, num_heads, is_cross=True)
        self.self_attention = nn.ModuleList(
            AttentionBlock(width, num_heads, is_cross=False) for _ in range(num_self_attention)
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens_BNW: Tensor, hidden_BN: Tensor | None = None) -> Tensor:
        """Mean of the latents, `[B, width]`, after reading the tokens that are not hidden.

        Args:
            tokens_BNW: Tokens.
            hidden_BN: True where a token must not be read; one token an example must be visible.
        """
        return self.read(tokens_BNW, hidden_BN, need_weights=False)[0]

    def read(
        self, tokens_BNW: Tensor, hidden_BN: Tensor | None, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        """The same, and the share of the attention that each token got, `[B, N]`, if needed."""
        latents_BLW = self.latents_LW.expand(len(tokens_BNW), -1, -1)
        latents_BLW, weight_BLN = self.cross_attention.attend(
            latents_BLW, tokens_BNW, hidden_BN, need_weights
        )
        for block in self.self_attention:
            latents_BLW = block(latents_BLW)
        share_BN = None if weight_BLN is None else weight_BLN.mean(dim=1)
        return self.norm(latents_BLW.mean(dim=1)), share_BN
