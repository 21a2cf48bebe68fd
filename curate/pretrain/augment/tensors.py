"""Augmentation of whole batches as tensor code: how a GPU renders `Draws`.

Resampling is two batched matrix products, one a side: as fast as the hardware multiplies, antialiased where a crop
shrinks, and with its own box for each picture.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from curate.pretrain.augment.draws import JITTER_OPS, LUMA, Draws
from curate.pretrain.config import Augment


def prepare(images: Tensor) -> Tensor:
    """uint8 [n, H, W, 3] -> float32 [n, H, 3, W] in [0, 1]: the layout from which `render` resamples fastest."""
    return images.permute(0, 1, 3, 2).to(torch.float32, memory_format=torch.contiguous_format).div_(255)


def render(prepared: Tensor, draws: Draws, size: int, augment: Augment) -> Tensor:
    """Applies `draws` to pictures. Which of them an operation concerns is a mask: the device is never waited for.

    Args:
        prepared: float32 [n, H, 3, W], from `prepare`.
        draws: n * views rows on the device, the views of a picture side by side.
        size: side of the crops, pixels.
        augment: interpolation and normalisation.

    Returns:
        float32 [n * views, 3, size, size], normalised.
    """
    x = resized_crop(prepared, draws.box, draws.flip, size, augment.interpolation)
    x = color_jitter(x, draws)
    x = torch.where(_per_picture(draws.grey), luma(x), x)
    x = torch.where(_per_picture(draws.blur), gaussian_blur(x, draws.sigma, augment.blur_sigma[1]), x)
    x = torch.where(_per_picture(draws.solarize) & (x >= 0.5), 1 - x, x)
    return normalize(x, augment)


def normalize(x: Tensor, augment: Augment) -> Tensor:
    """Takes the mean off float [n, 3, h, w] in [0, 1] and divides by the standard deviation, in place."""
    return x.sub_(_constant(augment.mean, x.device)).div_(_constant(augment.std, x.device))


@functools.lru_cache(maxsize=64)
def _constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """A number a channel, sent to the device once."""
    return torch.tensor(values, device=device).reshape(-1, 1, 1)


def _per_picture(mask: Tensor) -> Tensor:
    """bool [n] beside float [n, 3, h, w]."""
    return mask[:, None, None, None]


# ---------------------------------------------------------------------------------------------------------- geometry


def resized_crop(prepared: Tensor, box: Tensor, flip: Tensor, size: int, interpolation: str = "bilinear") -> Tensor:
    """Cuts `box` out of each picture, resizes it to `size` x `size` with antialiasing and mirrors it where `flip`.

    Args:
        prepared: float32 [n, H, 3, W].
        box: float32 [n * views, 4]: top, left, height, width; the views of a picture side by side.
        flip: bool [n * views].
        size: side of the result, pixels.
        interpolation: `bilinear` or `bicubic`, both as Pillow's resize of the box cut out.

    Returns:
        float32 [n * views, 3, size, size].
    """
    n, height, _, width = prepared.shape
    top, left, h, w = box.unbind(1)
    rows = resampling(top, h, height, size, interpolation)
    columns = resampling(left, w, width, size, interpolation)
    columns = torch.where(flip[:, None, None], columns.flip(1), columns)
    x = torch.bmm(rows.reshape(n, -1, height), prepared.reshape(n, height, 3 * width)).reshape(len(box), -1, width)
    x = torch.bmm(x, columns.transpose(1, 2)).reshape(len(box), size, 3, size)
    return x.transpose(1, 2).clamp(0, 1).contiguous()  # the cubic kernel overshoots


def resampling(start: Tensor, length: Tensor, old: int, new: int, interpolation: str) -> Tensor:
    """Matrices that resample a stretch of a side of `old` pixels to `new` pixels: float32 [n, new, old].

    Row o weighs the old pixels by the kernel around the place where the middle of the new pixel o lies, widened where
    the stretch shrinks; pixels outside the stretch weigh nothing and each row sums to 1.
    """
    step = (length / new)[:, None, None]
    kernel = step.clamp_min(1.0)
    middle = start[:, None, None] + (torch.arange(new, device=start.device)[:, None] + 0.5) * step
    pixel = torch.arange(old, device=start.device)
    distance = ((pixel + 0.5 - middle) / kernel).abs_()
    if interpolation == "bilinear":
        weights = (1 - distance).clamp_min_(0)
    else:  # Keys' cubic with a = -0.5
        near = (1.5 * distance - 2.5) * distance * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        weights = torch.where(distance < 1, near, torch.where(distance < 2, far, 0.0))
    first = start[:, None, None]
    weights *= (pixel >= first) & (pixel < first + length[:, None, None])
    return weights.div_(weights.sum(2, keepdim=True))


def gaussian_blur(x: Tensor, sigma: Tensor, largest: float) -> Tensor:
    """Gaussian blur, each picture with its own width; the border pixels are continued outwards, as Pillow does.

    Args:
        x: float32 [n, 3, h, w].
        sigma: float32 [n], pixels.
        largest: upper bound of `sigma`, which fixes the size of the kernel at 4 times it.
    """
    n, channels, height, width = x.shape
    radius = math.ceil(4 * largest)
    offset = torch.arange(-radius, radius + 1, device=x.device)
    kernel = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(channels, 0)
    x = F.pad(x.reshape(1, n * channels, height, width), (radius,) * 4, mode="replicate")
    x = F.conv2d(x, kernel[:, None, None, :], groups=n * channels)
    x = F.conv2d(x, kernel[:, None, :, None], groups=n * channels)
    return x.reshape(n, channels, height, width)


# ------------------------------------------------------------------------------------------------------------ colour


def color_jitter(x: Tensor, draws: Draws) -> Tensor:
    """Applies the four jitters in each picture's own order to float32 [n, 3, h, w] in [0, 1].

    Brightness, contrast and saturation all blend a picture with something greyer, so one operation does whichever is a
    picture's turn. Hue costs most and is done once: the others go before or after it. Who has no turn blends by 1.
    """
    order, hue = draws.order, JITTER_OPS.index("hue")
    place_of_hue = (order == hue).float().argmax(1)
    for later in (False, True):
        if later:
            turned = _turn_hue(x, draws.factors[:, hue, None, None])
            x = torch.where(_per_picture(draws.jitter), turned, x)
        for place in range(len(JITTER_OPS)):
            op = order[:, place]
            turn = draws.jitter & (op != hue) & ((place > place_of_hue) if later else (place < place_of_hue))
            factor = draws.factors.gather(1, op.long()[:, None])[:, 0]
            x = _blend(x, op, torch.where(turn, factor, 1.0))
    return x


def _blend(x: Tensor, op: Tensor, factor: Tensor) -> Tensor:
    """Blends each picture with black, its mean luma or its luma, by its own operation `op` [n] and factor [n]."""
    grey = luma(x)
    contrast, saturation = (_per_picture(op == JITTER_OPS.index(name)) for name in ("contrast", "saturation"))
    base = torch.where(contrast, grey.mean((2, 3), keepdim=True), torch.where(saturation, grey, 0.0))
    return torch.lerp(base.expand_as(x), x, _per_picture(factor)).clamp_(0, 1)


def adjust(op: str, x: Tensor, factor: Tensor) -> Tensor:
    """One jitter of `JITTER_OPS` of float32 [n, 3, h, w] in [0, 1] by factors float32 [n]."""
    factor = factor[:, None, None, None]
    if op == "brightness":
        return (x * factor).clamp_(0, 1)
    if op == "contrast":
        return torch.lerp(luma(x).mean((2, 3), keepdim=True), x, factor).clamp_(0, 1)
    if op == "saturation":
        return torch.lerp(luma(x), x, factor).clamp_(0, 1)
    return _turn_hue(x, factor[:, 0])


def luma(x: Tensor) -> Tensor:
    """float [n, 3, h, w] -> float [n, 1, h, w]."""
    red, green, blue = x.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def _turn_hue(x: Tensor, turn: Tensor) -> Tensor:
    """Adds `turn` [n, 1, 1] to the hue of float [n, 3, h, w] in HSV; value and saturation stay."""
    red, green, blue = x.unbind(1)
    value = x.amax(1)
    chroma = value - x.amin(1)
    divisor = chroma.clamp_min(1e-12)  # without colour every hue is the same grey
    hue = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, 2 + (blue - red) / divisor, 4 + (red - green) / divisor),
    )
    hue += 6 * turn
    out = torch.empty_like(x)
    for channel, shift in enumerate((5, 3, 1)):
        k = hue + shift
        k -= 6 * torch.floor(k / 6)
        out[:, channel] = value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)
    return out
