"""Every augmentation in floats against the function that it must equal: Pillow's, SciPy's, colorsys'."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.pretrain import augment
from curate.pretrain.augment import tensors
from curate.pretrain.augment.draws import JITTER_OPS, draw
from curate.pretrain.config import View
from tests.pretrain.augment.samples import PAPER, VIEW, Cut, cuts, planar, random_images, uniforms


@settings(max_examples=40)
@given(cuts())
def test_resized_crop_is_pillows(cut: Cut) -> None:
    image, (top, left, h, w), size, flip, kind = cut.image, cut.box, cut.size, cut.flip, cut.kind
    got = tensors.resized_crop(
        tensors.prepare(image), torch.tensor([[top, left, h, w]]).float(), torch.tensor([flip]), size, kind
    )
    method = Image.Resampling.BILINEAR if kind == "bilinear" else Image.Resampling.BICUBIC
    for channel in range(3):
        plane = Image.fromarray(image[0, :, :, channel].numpy().astype(np.float32))
        expected = np.asarray(plane.crop((left, top, left + w, top + h)).resize((size, size), method)) / 255
        expected = expected[:, ::-1] if flip else expected
        np.testing.assert_allclose(got[0, channel].numpy(), expected.clip(0, 1), atol=2e-5)


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_is_scipys(sigma: float) -> None:
    x = planar(random_images(2, 20, 30))
    got = tensors.gaussian_blur(x, torch.tensor([sigma, 1.3]), 2.0).numpy()
    for index, width in enumerate((sigma, 1.3)):
        for channel in range(3):
            expected = scipy.ndimage.gaussian_filter(
                x[index, channel].double().numpy(), width, mode="nearest", radius=8
            )
            np.testing.assert_allclose(got[index, channel], expected, atol=1e-5)


@pytest.mark.parametrize("op", ["brightness", "contrast", "saturation"])
@pytest.mark.parametrize("factor", [0.2, 0.8, 1.0, 1.8])
def test_jitter_is_pillows(op: str, factor: float) -> None:
    from PIL import ImageEnhance

    image = random_images(1, 16, 20)
    enhancer = {"brightness": "Brightness", "contrast": "Contrast", "saturation": "Color"}[op]
    expected = np.asarray(getattr(ImageEnhance, enhancer)(Image.fromarray(image[0].numpy())).enhance(factor))
    got = tensors.adjust(op, planar(image), torch.tensor([factor]))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(got - expected).max() < 2.1  # Pillow rounds the grey, then the result


@given(st.tuples(*[st.floats(0, 1, width=32)] * 3), st.floats(-0.5, 0.5, width=32))
def test_hue_is_colorsys(colour: tuple[float, float, float], turn: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    expected = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
    got = tensors.adjust("hue", torch.tensor(colour).reshape(1, 3, 1, 1), torch.tensor([turn])).flatten()
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_jitters_go_in_each_pictures_own_order() -> None:
    images = random_images(24, 8, 8)
    draws = draw(uniforms(24), 8, 8, VIEW, PAPER)
    draws = replace(draws, jitter=torch.arange(24) % 4 != 0)
    got = tensors.color_jitter(planar(images), draws)
    for index in range(24):
        x = planar(images)[index : index + 1]
        if draws.jitter[index]:
            for op in draws.order[index].tolist():
                x = tensors.adjust(JITTER_OPS[op], x, draws.factors[index : index + 1, op])
        torch.testing.assert_close(got[index : index + 1], x)


def test_render_is_the_papers_list_in_order() -> None:
    images = random_images(12, 30, 40)
    draws = draw(uniforms(12, 3), 30, 40, View(scale=(0.14, 1.0), solarize_p=0.5), PAPER)
    got = tensors.render(tensors.prepare(images), draws, 16, PAPER)
    for i in range(12):
        one = draws[i : i + 1]
        x = tensors.resized_crop(tensors.prepare(images[i : i + 1]), one.box, one.flip, 16)
        x = tensors.color_jitter(x, one)
        if one.grey:
            x = (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])[:, None].repeat(1, 3, 1, 1)
        if one.blur:
            x = tensors.gaussian_blur(x, one.sigma, 2.0)
        if one.solarize:
            x = torch.where(x < 0.5, x, 1 - x)
        x = (x - torch.tensor(PAPER.mean)[:, None, None]) / torch.tensor([0.228, 0.224, 0.225])[:, None, None]
        torch.testing.assert_close(got[i : i + 1], x, atol=1e-5, rtol=1e-4)


def test_rows_do_not_depend_on_how_the_batch_is_cut() -> None:
    images = tensors.prepare(random_images(10, 24, 24))
    draws = draw(uniforms(10), 24, 24, VIEW, PAPER)
    whole = tensors.render(images, draws, 16, PAPER)
    parts = [tensors.render(images[part], draws[part], 16, PAPER) for part in (slice(0, 3), slice(3, 10))]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-5, rtol=1e-4)
    again = draw(uniforms(10), 24, 24, VIEW, PAPER)
    assert all(torch.equal(getattr(draws, name), getattr(again, name)) for name in vars(draws))


def test_views_of_one_size_are_rendered_together() -> None:
    images = random_images(5, 24, 20)
    draws = [draw(uniforms(5, seed), 24, 20, VIEW, PAPER) for seed in range(4)]
    sizes = [16, 16, 12, 12]
    got = augment.batchwise(images, draws, sizes, PAPER)
    for one, view, size in zip(got, draws, sizes, strict=True):
        expected = tensors.render(tensors.prepare(images), view, size, PAPER)
        torch.testing.assert_close(one, expected, atol=1e-5, rtol=1e-4)
