"""MAE: paint the patches that are hidden (He et al. 2022, "Masked Autoencoders Are Scalable Vision Learners")."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from curate.pretrain.backbones import Backbone, Block, VisionTransformer, init_xavier, sincos_positions
from curate.pretrain.methods.base import Method, Outputs, Setup, StepInfo
from curate.recipe_files import Section


class MaeSettings(Section):
    """He et al. 2022."""

    mask_ratio: float = Field(0.75, gt=0, lt=1, description="share of the patches that are hidden")
    decoder_dim: int = Field(512, ge=4, multiple_of=4, description="width of the decoder")
    decoder_depth: int = Field(8, ge=1, description="blocks of the decoder")
    decoder_heads: int = Field(16, ge=1, description="attention heads of the decoder")
    normalize_patches: bool = Field(
        True, description="each patch is predicted less its mean, in its own standard deviations"
    )


def patchify(images: Tensor, patch: int) -> Tensor:
    """float [n, 3, H, W] -> float [n, patches, patch * patch * 3], patches row by row, pixels row by row, RGB."""
    n, channels, height, width = images.shape
    x = images.reshape(n, channels, height // patch, patch, width // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(n, -1, patch * patch * channels)


def random_mask(noise: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Hides a random share of each picture's patches, the same number in each: those of the largest numbers.

    Args:
        noise: float32 [n, patches], uniform.
        ratio: share that is hidden.

    Returns:
        int64 [n, kept], the patches that stay, in random order; and bool [n, patches], True where hidden.
    """
    kept = int(noise.shape[1] * (1 - ratio))
    keep = noise.argsort(1)[:, :kept]
    hidden = torch.ones_like(noise, dtype=torch.bool)
    return keep, hidden.scatter(1, keep, False)


def patch_errors(prediction: Tensor, target: Tensor, normalize: bool = True) -> Tensor:
    """Mean squared error of each patch: float [n, patches, pixels] each -> float [n, patches].

    Args:
        prediction: of each patch.
        target: the patch as it is.
        normalize: compare with each patch less its mean, over its standard deviation (sec. 3 of the paper).
    """
    if normalize:
        variance, mean = torch.var_mean(target, dim=2, keepdim=True)
        target = (target - mean) / (variance + 1e-6).sqrt()
    return (prediction - target).square().mean(2)


class Mae(Method):
    """MAE with a light decoder; positions of both are fixed sines and cosines."""

    section = MaeSettings
    defaults: ClassVar[dict[str, Any]] = {
        "arch": "vit_b",
        "epochs": 800,
        "crops": [{"count": 1, "scale": [0.2, 1.0], "blur_p": 0.0}],
        "augment": {"interpolation": "bicubic", "jitter_p": 0.0, "grey_p": 0.0, "std": [0.229, 0.224, 0.225]},
        "optimiser": {
            "name": "adamw",
            "lr": 1.5e-4,
            "betas": [0.9, 0.95],
            "weight_decay": 0.05,
            "warmup_epochs": 40,
            "exclude_1d": True,
        },
    }
    least_crops, most_crops = 1, 1
    needs_transformer = True
    cost = 1.5

    settings: MaeSettings
    backbone: VisionTransformer

    def __init__(self, backbone: Backbone, settings: MaeSettings, setup: Setup) -> None:
        super().__init__(backbone, settings, setup)
        if not isinstance(backbone, VisionTransformer):
            raise ValueError("mae hides patches: it needs a transformer")
        self.noise = (setup.crop_size // backbone.patch) ** 2
        width, dim, grid = backbone.feature_dim, settings.decoder_dim, setup.crop_size // backbone.patch
        if setup.fresh:
            backbone.pos_embed.data.copy_(sincos_positions(backbone.grid, width))
            backbone.apply(init_xavier)
            nn.init.xavier_uniform_(backbone.patch_embed.proj.weight.flatten(1))
            nn.init.normal_(backbone.cls_token, std=0.02)
        backbone.pos_embed.requires_grad_(False)
        self.decoder_embed = nn.Linear(width, dim)
        self.mask_token = nn.Parameter(torch.empty(1, 1, dim))
        nn.init.normal_(self.mask_token, std=0.02)
        self.register_buffer("decoder_positions", sincos_positions(grid, dim), persistent=False)
        self.decoder = nn.Sequential(*(Block(dim, settings.decoder_heads) for _ in range(settings.decoder_depth)))
        self.decoder_norm = nn.LayerNorm(dim, eps=1e-6)
        self.pixels = nn.Linear(dim, backbone.patch**2 * 3)
        for part in (self.decoder_embed, self.decoder, self.pixels):
            part.apply(init_xavier)

    decoder_positions: Tensor

    def forward(self, crops: list[Tensor], labels: Tensor | None = None, noise: Tensor | None = None) -> Outputs:
        """`errors` float [n, patches], of every patch, and `hidden` bool [n, patches]."""
        (images,) = crops
        if noise is None:
            raise ValueError("mae needs random numbers for its mask")
        tokens = self.backbone.patches(images)
        _, patches, width = tokens.shape
        keep, hidden = random_mask(noise, self.settings.mask_ratio)
        seen = self.backbone.encode(tokens.gather(1, keep[:, :, None].expand(-1, -1, width)))
        prediction = self.decode(seen, keep, patches)
        target = patchify(images.float(), self.backbone.patch)
        return {"errors": patch_errors(prediction.float(), target, self.settings.normalize_patches), "hidden": hidden}

    def decode(self, seen: Tensor, keep: Tensor, patches: int) -> Tensor:
        """Pixels of all patches [n, patches, pixels] from the encoder's tokens [n, 1 + kept, width]."""
        x = self.decoder_embed(seen)
        blank = self.mask_token.to(x.dtype).expand(len(x), patches, -1)
        full = blank.scatter(1, keep[:, :, None].expand(-1, -1, x.shape[2]), x[:, 1:])
        x = torch.cat((x[:, :1], full), 1) + self.decoder_positions
        pixels: Tensor = self.pixels(self.decoder_norm(self.decoder(x)))
        return pixels[:, 1:]

    def loss(self, outputs: Outputs, info: StepInfo) -> Tensor:
        """Mean error of the hidden patches."""
        hidden = outputs["hidden"].float()
        return (outputs["errors"] * hidden).sum() / hidden.sum()

    @classmethod
    def hidden_share(cls, settings: MaeSettings) -> float:
        """The mask's."""
        return settings.mask_ratio
