"""What curate uses of NVIDIA's nvImageCodec, for machines without the package.

Names and arguments are those of 0.9, and so is what it does with what it cannot decode. `test_gpu_jpeg` compares it
with the package where that is installed.

Pictures are decoded by libjpeg-turbo on the CPU, whatever device is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any

import numpy as np
import simplejpeg

NVIMGCODEC_DEVICE_CPU_ONLY = -99999
NVIMGCODEC_DEVICE_CURRENT = -1


class BackendKind(Enum):
    CPU_ONLY = 1
    GPU_ONLY = 2
    HYBRID_CPU_GPU = 3
    HW_GPU_ONLY = 4


class ColorSpec(Enum):
    SRGB = 1


class LoadHintPolicy(Enum):
    FIXED = 2


class Backend:
    def __init__(
        self, backend_kind: BackendKind, load_hint: float = 1.0, load_hint_policy: LoadHintPolicy = LoadHintPolicy.FIXED
    ) -> None:
        self.backend_kind = backend_kind


class DecodeParams:
    def __init__(
        self,
        apply_exif_orientation: bool = True,
        color_spec: ColorSpec = ColorSpec.SRGB,
        allow_any_depth: bool = False,
    ) -> None:
        self.apply_exif_orientation, self.color_spec = apply_exif_orientation, color_spec


class CodeStream:
    """Takes any bytes: they are looked at when they are decoded."""

    def __init__(self, bytes: bytes, bitstream_offset: int | None = None) -> None:  # noqa: A002
        self.data = bytes


class Image:
    """Pixels in host memory, which NumPy can read."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.pixels = pixels

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.pixels


class Decoder:
    """Gives None for what it cannot decode, and for what `refuses`, which a test may set, says."""

    refuses = staticmethod(lambda jpeg: False)

    def __init__(
        self,
        device_id: int = NVIMGCODEC_DEVICE_CURRENT,
        max_num_cpu_threads: int = 0,
        backends: Sequence[Backend] | None = None,
        options: str = "",
    ) -> None:
        if device_id != NVIMGCODEC_DEVICE_CPU_ONLY:
            raise RuntimeError("Internal error - Could not create decoder. Code: 8")

    def decode(
        self,
        srcs: Sequence[CodeStream],
        *,
        images: Sequence[Image] | None = None,
        params: DecodeParams | None = None,
        cuda_stream: int = 0,
    ) -> list[Image | None]:
        return [self._one(source.data, params or DecodeParams()) for source in srcs]

    def _one(self, jpeg: bytes, params: DecodeParams) -> Image | None:
        assert not params.apply_exif_orientation and params.color_spec is ColorSpec.SRGB
        try:
            return None if self.refuses(jpeg) else Image(simplejpeg.decode_jpeg(jpeg, "RGB"))
        except ValueError:
            return None
