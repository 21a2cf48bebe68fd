"""Every augmentation in bytes against Pillow's, SciPy's and colorsys', and the whole list against that in floats."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from curate.pretrain import augment
from curate.pretrain.augment import bytewise, tensors
from curate.pretrain.augment.draws import Draws
from curate.pretrain.config import Augment, View
from tests.pretrain.augment.samples import PAPER, VIEW, Cut, cuts, planar, random_images, uniforms

PLAIN = bytewise.Choice((0, 0, 16, 20), False, [], False, None, False)


@settings(max_examples=40)
@given(cuts())
def test_a_crop_is_pillows_to_the_bit(cut: Cut) -> None:
    (top, left, h, w), size, flip, kind = cut.box, cut.size, cut.flip, cut.kind
    picture = Image.fromarray(cut.image[0].numpy())
    got = bytewise.render(picture, replace(PLAIN, box=cut.box, flip=flip), size, kind)
    method = Image.Resampling.BILINEAR if kind == "bilinear" else Image.Resampling.BICUBIC
    expected = np.asarray(picture.crop((left, top, left + w, top + h)).resize((size, size), method))
    np.testing.assert_array_equal(got, expected[:, ::-1] if flip else expected)


@pytest.mark.parametrize("op", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.2, 0.8, 1.0, 1.8])
def test_jitter_is_pillows(op: str, factor: float) -> None:
    image = random_images(1, 16, 20)[0].numpy()
    enhancer = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}[op]
    expected = np.asarray(getattr(ImageEnhance, enhancer)(Image.fromarray(image)).enhance(factor))
    assert np.abs(bytewise.adjust(op, image, factor).astype(int) - expected).max() <= 2  # Pillow rounds the grey first


@given(st.tuples(*[st.integers(0, 255)] * 3), st.floats(-0.5, 0.5, width=32))
def test_hue_is_colorsys(colour: tuple[int, int, int], turn: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*(channel / 255 for channel in colour))
    expected = np.array(colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)) * 255
    got = bytewise.adjust("hue", np.array(colour, np.uint8)[None, None], turn)[0, 0]
    # 256 hues: half a step before and half after the turn are six in a channel; saturation and value are whole numbers
    assert np.abs(got - expected).max() <= 8


def test_hue_without_a_turn_is_no_turn() -> None:
    wheel = np.array([colorsys.hsv_to_rgb(hue / 256, 1, 1) for hue in range(256)]) * 255
    colours = np.round(wheel).astype(np.uint8)[None]
    error = bytewise.adjust("hue", colours, 0.0).astype(int) - colours
    assert np.abs(error).max() <= 3  # half a step


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_scipys(sigma: float) -> None:
    x = random_images(1, 20, 30)[0].numpy()
    expected = [scipy.ndimage.gaussian_filter(x[:, :, c].astype(float), sigma, mode="nearest") for c in range(3)]
    assert np.abs(bytewise.gaussian_blur(x, sigma) - np.stack(expected, 2)).max() <= 1.1


def test_grey_and_solarize_are_pillows() -> None:
    image = Image.fromarray(random_images(1, 16, 16)[0].numpy())
    grey = bytewise.render(image, replace(PLAIN, box=(0, 0, 16, 16), grey=True), 16, "bilinear")
    assert np.abs(grey.astype(int) - np.asarray(image.convert("L").convert("RGB"))).max() <= 1
    solar = bytewise.render(image, replace(PLAIN, box=(0, 0, 16, 16), solarize=True), 16, "bilinear")
    np.testing.assert_array_equal(solar, np.where(np.asarray(image) < 128, np.asarray(image), 255 - np.asarray(image)))


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_bytes_and_floats_agree(kind: str) -> None:
    """Smooth pictures, so that rounding to bytes is all that differs; solarisation may tip over at its edge."""
    images = torch.nn.functional.interpolate(planar(random_images(24, 4, 5)), (30, 40), mode="bicubic")
    images = (images.clamp(0, 1) * 255).byte().permute(0, 2, 3, 1).contiguous()
    settings = Augment(interpolation=kind, jitter=(0.4, 0.4, 0.4, 0.1))
    draws = augment.draw(uniforms(24, 3), 30, 40, View(scale=(0.14, 1.0), solarize_p=0.0), settings)
    prepared = tensors.prepare(images)
    std = torch.tensor(settings.std).reshape(3, 1, 1)
    for size, got in zip((16, 48), augment.crops(images, [draws, draws], [16, 48], settings), strict=True):
        difference = ((got - tensors.render(prepared, draws, size, settings)) * std * 255).abs()
        assert got.is_contiguous(memory_format=torch.channels_last)
        assert difference.mean() < 1.5
        assert difference.quantile(0.999) < 12


def test_crops_do_not_depend_on_threads_or_on_how_the_batch_is_cut() -> None:
    images = random_images(10, 24, 24)
    draws = augment.draw(uniforms(10), 24, 24, VIEW, PAPER)
    [whole] = augment.crops(images, [draws], [16], PAPER)
    parts = [augment.crops(images[part], [draws[part]], [16], PAPER)[0] for part in (slice(0, 3), slice(3, 10))]
    assert torch.equal(whole, torch.cat(parts))
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.equal(augment.crops(images, [draws], [16], PAPER)[0], whole)
    finally:
        torch.set_num_threads(threads)


def test_no_pictures_give_no_crops() -> None:
    draws: Draws = augment.draw(uniforms(1), 24, 24, VIEW, PAPER)[:0]
    assert augment.crops(random_images(0, 24, 24), [draws], [16], PAPER)[0].shape == (0, 3, 16, 16)


def test_plain_is_the_whole_picture_normalised() -> None:
    images = random_images(2, 16, 16)
    expected = (planar(images) - torch.tensor(PAPER.mean)[:, None, None]) / torch.tensor(PAPER.std)[:, None, None]
    torch.testing.assert_close(augment.plain(images, 16, PAPER), expected, atol=1e-5, rtol=1e-4)
