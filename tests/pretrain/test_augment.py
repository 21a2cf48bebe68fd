"""Every augmentation against the function that it must equal: Pillow's, SciPy's, colorsys'; and its distribution."""

from __future__ import annotations

import colorsys
from dataclasses import replace

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from curate.pretrain import augment
from curate.pretrain.config import Augment, View

PAPER = Augment()
VIEW = View(scale=(0.14, 1.0))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def random_images(n: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(0, 256, (n, height, width, 3), dtype=torch.uint8, generator=generator(seed))


def planar(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float() / 255


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_resized_crop_is_pillows(data: st.DataObject) -> None:
    height, width = data.draw(st.integers(8, 40)), data.draw(st.integers(8, 40))
    h, w = data.draw(st.integers(1, height)), data.draw(st.integers(1, width))
    top, left = data.draw(st.integers(0, height - h)), data.draw(st.integers(0, width - w))
    size, flip = data.draw(st.integers(1, 48)), data.draw(st.booleans())
    kind = data.draw(st.sampled_from(["bilinear", "bicubic"]))
    image = random_images(1, height, width, data.draw(st.integers(0, 99)))
    got = augment.resized_crop(
        augment.prepare(image), torch.tensor([[top, left, h, w]]).float(), torch.tensor([flip]), size, kind
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
    got = augment.gaussian_blur(x, torch.tensor([sigma, 1.3]), 2.0).numpy()
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
    got = augment.adjust(op, planar(image), torch.tensor([factor]))[0].permute(1, 2, 0).numpy() * 255
    assert np.abs(got - expected).max() < 2.1  # Pillow rounds the grey, then the result


@given(st.tuples(*[st.floats(0, 1, width=32)] * 3), st.floats(-0.5, 0.5, width=32))
def test_hue_is_colorsys(colour: tuple[float, float, float], turn: float) -> None:
    hue, saturation, value = colorsys.rgb_to_hsv(*colour)
    expected = colorsys.hsv_to_rgb((hue + turn) % 1.0, saturation, value)
    got = augment.adjust("hue", torch.tensor(colour).reshape(1, 3, 1, 1), torch.tensor([turn])).flatten()
    np.testing.assert_allclose(got, expected, atol=2e-5)


def test_jitters_go_in_each_pictures_own_order() -> None:
    images = random_images(24, 8, 8)
    draws = augment.draw(24, 8, 8, VIEW, PAPER, generator())
    draws = replace(draws, jitter=torch.arange(24) % 4 != 0)
    got = augment.color_jitter(planar(images), draws)
    for index in range(24):
        x = planar(images)[index : index + 1]
        if draws.jitter[index]:
            for op in draws.order[index].tolist():
                x = augment.adjust(augment.JITTER_OPS[op], x, draws.factors[index : index + 1, op])
        torch.testing.assert_close(got[index : index + 1], x)


def test_render_is_the_papers_list_in_order() -> None:
    images = random_images(12, 30, 40)
    draws = augment.draw(12, 30, 40, View(scale=(0.14, 1.0), solarize_p=0.5), PAPER, generator(3))
    got = augment.render(augment.prepare(images), draws, 16, PAPER)
    for i in range(12):
        one = draws[i : i + 1]
        x = augment.resized_crop(augment.prepare(images[i : i + 1]), one.box, one.flip, 16)
        x = augment.color_jitter(x, one)
        if one.grey:
            x = (0.299 * x[:, 0] + 0.587 * x[:, 1] + 0.114 * x[:, 2])[:, None].repeat(1, 3, 1, 1)
        if one.blur:
            x = augment.gaussian_blur(x, one.sigma, 2.0)
        if one.solarize:
            x = torch.where(x < 0.5, x, 1 - x)
        x = (x - torch.tensor(PAPER.mean)[:, None, None]) / torch.tensor([0.228, 0.224, 0.225])[:, None, None]
        torch.testing.assert_close(got[i : i + 1], x, atol=1e-5, rtol=1e-4)


def reference_box(rng: np.random.Generator, height: int, width: int, scale: tuple[float, float]) -> tuple[int, ...]:
    """Random resized crop as its authors define it, one picture at a time."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        shape = np.exp(rng.uniform(np.log(3 / 4), np.log(4 / 3)))
        w, h = round(np.sqrt(area * shape)), round(np.sqrt(area / shape))
        if 0 < w <= width and 0 < h <= height:
            return int(rng.integers(0, height - h + 1)), int(rng.integers(0, width - w + 1)), h, w
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


@pytest.mark.parametrize("scale", [(0.14, 1.0), (0.05, 0.14)])
def test_boxes_have_the_reference_distribution(scale: tuple[float, float]) -> None:
    """Two-sample Kolmogorov-Smirnov tests of place, size, area and shape."""
    n = 4000
    boxes = augment.draw(n, 224, 224, View(scale=scale), PAPER, generator(1)).box.double().numpy()
    rng = np.random.default_rng(1)
    reference = np.array([reference_box(rng, 224, 224, scale) for _ in range(n)], float)
    for measure in (
        lambda b: b[:, 0],
        lambda b: b[:, 1],
        lambda b: b[:, 2] * b[:, 3],
        lambda b: b[:, 3] / b[:, 2],
        lambda b: b[:, 0] / (225 - b[:, 2]),
    ):
        p = scipy.stats.ks_2samp(measure(boxes), measure(reference)).pvalue
        assert p > 1e-3


def test_draws_have_the_papers_distribution() -> None:
    n = 20000
    draws = augment.draw(n, 64, 64, VIEW, PAPER, generator(2))
    for name, chance in {"flip": 0.5, "jitter": 0.8, "grey": 0.2, "blur": 0.5, "solarize": 0.0}.items():
        share = getattr(draws, name).double().mean()
        assert abs(share - chance) <= 4 * np.sqrt(chance * (1 - chance) / n)
    for values, (low, high) in (
        (draws.sigma, (0.1, 2.0)),
        (draws.factors[:, 0], (0.2, 1.8)),
        (draws.factors[:, 1], (0.2, 1.8)),
        (draws.factors[:, 2], (0.2, 1.8)),
        (draws.factors[:, 3], (-0.2, 0.2)),
    ):
        assert scipy.stats.kstest(values.numpy(), "uniform", (low, high - low)).pvalue > 1e-3
    _, counts = np.unique(draws.order.numpy() @ np.array([64, 16, 4, 1]), return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-3


def test_no_box_fits_falls_back_to_the_centre() -> None:
    draws = augment.draw(3, 10, 100, View(scale=(0.9, 1.0)), PAPER, generator())
    assert draws.box.tolist() == [[0.0, (100 - 13) // 2, 10.0, 13.0]] * 3


def test_rows_do_not_depend_on_how_the_batch_is_cut() -> None:
    images = augment.prepare(random_images(10, 24, 24))
    draws = augment.draw(10, 24, 24, VIEW, PAPER, generator())
    whole = augment.render(images, draws, 16, PAPER)
    parts = [augment.render(images[part], draws[part], 16, PAPER) for part in (slice(0, 3), slice(3, 10))]
    torch.testing.assert_close(whole, torch.cat(parts), atol=1e-5, rtol=1e-4)
    again = augment.draw(10, 24, 24, VIEW, PAPER, generator())
    assert all(torch.equal(getattr(draws, name), getattr(again, name)) for name in vars(draws))


def test_plain_is_the_whole_picture_normalised() -> None:
    images = random_images(2, 16, 16)
    expected = (planar(images) - torch.tensor(PAPER.mean)[:, None, None]) / torch.tensor(PAPER.std)[:, None, None]
    torch.testing.assert_close(augment.plain(images, 16, PAPER), expected, atol=1e-5, rtol=1e-4)
