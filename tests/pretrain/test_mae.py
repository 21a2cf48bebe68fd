from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from curate.pretrain.methods import mae
from tests.pretrain.tiny import START, random, tiny


def test_patches_lie_row_by_row() -> None:
    image = torch.arange(3 * 4 * 6).reshape(1, 3, 4, 6).float()
    got = mae.patchify(image, 2)
    assert got.shape == (1, 6, 12)
    for patch, (y, x) in enumerate([(y, x) for y in range(2) for x in range(3)]):
        expected = image[0, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].permute(1, 2, 0).flatten()
        assert torch.equal(got[0, patch], expected)


def test_masks_hide_the_stated_share_at_random() -> None:
    keep, hidden = mae.random_mask(torch.rand(2000, 16, generator=torch.Generator().manual_seed(0)), 0.75)
    assert keep.shape == (2000, 4)
    assert (hidden.sum(1) == 12).all()
    assert not hidden.gather(1, keep).any()
    assert (hidden.double().mean(0) - 0.75).abs().max() < 4 * math.sqrt(0.75 * 0.25 / 2000)


@pytest.mark.parametrize("normalize", [True, False])
def test_mae_loss_is_the_papers(normalize: bool) -> None:
    prediction, target = random(2, 4, 12), random(2, 4, 12, seed=1) * 3 + 1
    hidden = torch.tensor([[1, 0, 1, 1], [0, 1, 1, 1]]).bool()
    t = target.double().numpy()
    if normalize:
        t = (t - t.mean(-1, keepdims=True)) / np.sqrt(t.var(-1, keepdims=True, ddof=1) + 1e-6)
    errors = ((prediction.double().numpy() - t) ** 2).mean(-1)
    method = tiny("mae")
    got = method.loss({"errors": mae.patch_errors(prediction, target, normalize), "hidden": hidden}, START)
    assert float(got) == pytest.approx(errors[hidden.numpy()].mean(), rel=1e-5)


def test_mae_encoder_never_sees_hidden_patches() -> None:
    """Changing the pixels under the mask changes the target alone; the encoder's tokens stay."""
    method = tiny("mae").eval()
    seen = []
    method.backbone.norm.register_forward_hook(lambda _, __, out: seen.append(out.detach()))
    images = random(2, 3, 32, 32)
    noise = torch.rand(2, method.noise, generator=torch.Generator().manual_seed(5))
    hidden = method([images], noise=noise)["hidden"]
    mask = hidden.reshape(2, 1, 2, 2).repeat_interleave(16, 2).repeat_interleave(16, 3)
    method([torch.where(mask, 7.0, images)], noise=noise)
    assert torch.equal(seen[0], seen[1])


def test_mae_decoder_puts_tokens_back_where_they_were() -> None:
    method = tiny("mae")
    method.decoder, method.decoder_norm = torch.nn.Sequential(), torch.nn.Identity()  # what is left is per patch
    method.pixels = torch.nn.Identity()
    keep = torch.tensor([[2, 0]])
    seen = random(1, 3, 16)
    out = method.decode(seen, keep, 4)[0] - method.decoder_positions[0, 1:]
    embedded = method.decoder_embed(seen)[0]
    torch.testing.assert_close(out[2], embedded[1])
    torch.testing.assert_close(out[0], embedded[2])
    torch.testing.assert_close(out[1], method.mask_token[0, 0])
    torch.testing.assert_close(out[3], method.mask_token[0, 0])
