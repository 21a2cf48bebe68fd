"""Vision transformers with timm's parameter names (Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words")."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from curate.pretrain.backbones.base import Backbone, Pool

GRID_OFFSET = 0.1
"""Of a patch, added to the grid to which position embeddings are interpolated: where the authors of DINO and DINOv2
sample them, so that features of their weights are the same here."""


class PatchEmbed(nn.Module):
    """Cuts pictures into patches and maps each to a token."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, images: Tensor) -> Tensor:
        """float [n, 3, H, W] -> tokens [n, (H / patch) * (W / patch), width], row by row."""
        patches: Tensor = self.proj(images)
        return patches.flatten(2).transpose(1, 2)


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, t, width] -> tokens of the same shape."""
        n, t, width = x.shape
        q, k, v = self.qkv(x).reshape(n, t, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.proj(x.transpose(1, 2).reshape(n, t, width))
        return out


class Mlp(nn.Module):
    """Two linear layers with a GELU between."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, t, width] -> tokens of the same shape."""
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


class Block(nn.Module):
    """A transformer block that normalises first (Dosovitskiy et al. 2021, eq. 2 and 3), with stochastic depth."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.drop_path = drop_path

    def forward(self, x: Tensor) -> Tensor:
        """Tokens [n, t, width] -> tokens of the same shape."""
        x = x + self._drop(self.attn(self.norm1(x)))
        return x + self._drop(self.mlp(self.norm2(x)))

    def _drop(self, x: Tensor) -> Tensor:
        """Leaves the branch out for a random share of the samples; the others are scaled so that the mean stays."""
        if not self.training or self.drop_path == 0.0:
            return x
        keep = 1 - self.drop_path
        return x * torch.empty(len(x), 1, 1, device=x.device, dtype=x.dtype).bernoulli_(keep) / keep


class VisionTransformer(Backbone):
    """A vision transformer for pictures of any size that the patch divides. Its arguments are what makes its sizes.

    Args:
        width, depth, heads: of the transformer.
        patch: side of a patch, pixels.
        grid: patches a side for which position embeddings are learned; other sizes interpolate them (bicubic).
        pool: what `forward` returns: the class token or the mean of the patch tokens, both after the last norm.
        drop_path: rate of stochastic depth in the last block.
    """

    can_recompute = True

    def __init__(  # noqa: PLR0913
        self,
        width: int,
        depth: int,
        heads: int,
        patch: int = 16,
        grid: int = 14,
        pool: Pool = "token",
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        self.patch, self.grid, self.pool = patch, grid, pool
        self.feature_dim = width
        self.map_channels, self.map_strides = (width,), (patch,)
        self.cls_token = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + grid * grid, width))
        self.patch_embed = PatchEmbed(patch, width)
        rates = [drop_path * index / max(depth - 1, 1) for index in range(depth)]
        self.blocks = nn.ModuleList(Block(width, heads, drop_path=rate) for rate in rates)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        nn.init.normal_(self.cls_token, std=1e-6)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.apply(init_linear)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embeddings of a grid of patches: [1, rows * columns, width]."""
        table = self.pos_embed[:, 1:]
        if rows == columns == self.grid:
            return table
        table = table.reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        scale = (rows + GRID_OFFSET) / self.grid, (columns + GRID_OFFSET) / self.grid
        table = F.interpolate(table.float(), scale_factor=scale, mode="bicubic", align_corners=False)
        return table.permute(0, 2, 3, 1).reshape(1, rows * columns, -1).to(self.pos_embed.dtype)

    def patches(self, images: Tensor) -> Tensor:
        """Patch tokens with their positions, before the first block: [n, rows * columns, width].

        Raises:
            ValueError: the patch does not divide the picture.
        """
        height, width = images.shape[-2:]
        if height % self.patch or width % self.patch:
            raise ValueError(f"pictures of {height} x {width} cannot be cut into patches of {self.patch} pixels")
        patches: Tensor = self.patch_embed(images)
        return patches + self.positions(height // self.patch, width // self.patch)

    def encode(self, patches: Tensor) -> Tensor:
        """Puts the class token before patch tokens [n, t, width] and runs all blocks: [n, 1 + t, width]."""
        token = (self.cls_token + self.pos_embed[:, :1]).expand(len(patches), -1, -1)
        x = torch.cat((token, patches), 1)
        for block in self.blocks:
            x = self.run(block, x)
        out: Tensor = self.norm(x)
        return out

    def both(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The feature, and the patch tokens after the last norm as the one map."""
        tokens = self.encode(self.patches(images))
        feature = tokens[:, 0] if self.pool == "token" else tokens[:, 1:].mean(1)
        rows, columns = images.shape[-2] // self.patch, images.shape[-1] // self.patch
        return feature, [tokens[:, 1:].transpose(1, 2).reshape(len(images), -1, rows, columns)]


def init_linear(module: nn.Module) -> None:
    """Linear layers as transformers are usually begun: weights from a cut normal of 0.02, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def init_xavier(module: nn.Module) -> None:
    """Linear layers as MAE begins them: weights by Glorot's uniform rule, biases 0."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def sincos_positions(grid: int, width: int) -> Tensor:
    """Fixed two-dimensional sine and cosine positions [1, 1 + grid * grid, width], zero for the class token.

    Source: He et al. 2022 (MAE), after Vaswani et al. 2017; the first half of the channels codes the column.
    """
    frequencies = 10000.0 ** -(torch.arange(width // 4, dtype=torch.float64) / (width / 4))
    angles = torch.arange(grid, dtype=torch.float64)[:, None] * frequencies
    one = torch.cat((angles.sin(), angles.cos()), 1)
    rows = one[:, None].expand(grid, grid, -1)
    columns = one[None].expand(grid, grid, -1)
    table = torch.cat((columns, rows), -1).reshape(1, grid * grid, width)
    return torch.cat((torch.zeros(1, 1, width), table.float()), 1)
