from __future__ import annotations

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from curate.pretrain import config, cost
from tests.pretrain.tiny import crops, noise, tiny


def really_kept(method: torch.nn.Module, n: int) -> int:
    """Bytes that a real forward pass keeps for the backward pass."""
    own = {t.untyped_storage().data_ptr() for t in (*method.parameters(), *method.buffers())}
    kept: dict[int, torch.UntypedStorage] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        if x.untyped_storage().data_ptr() not in own:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    labels = torch.zeros(n, dtype=torch.int64) if method.needs_labels else None
    with saved_tensors_hooks(pack, lambda x: x):
        outputs = method([crop.repeat(n // 4, 1, 1, 1) for crop in crops(method)], labels, noise(method, n))
    del outputs
    return sum(storage.nbytes() for storage in kept.values())


@pytest.mark.parametrize("name", config.METHODS)
def test_memory_without_numbers_is_that_of_a_real_pass(name: str) -> None:
    method = tiny(name)
    sizes = [crop.shape[-1] for crop in crops(method)]
    recipe = config.load(None, {"method": name, "steps": 1, "crop_size": 32})
    shapes = recipe.model_copy(
        update={"crops": tuple(config.View(count=1, size=size) for size in sizes), "crop_size": None}
    )
    need = cost.memory(method, shapes)
    assert need is not None
    each = (really_kept(method, 8) - really_kept(method, 4)) / 4
    assert need.picture == pytest.approx(each, rel=0.02)
    learning = sum(p.numel() for p in method.parameters() if p.requires_grad)
    held = sum(t.numel() for t in (*method.parameters(), *method.buffers()))
    assert need.state == 4 * (held + learning * (3 if recipe.optimiser.name == "adamw" else 2))


def test_what_is_advised_divides_the_share() -> None:
    assert "micro_batch=64 " in cost.smaller(128, 128, 100)
    assert "smaller --batch" in cost.smaller(2, 2, 1)
    need = cost.Memory(state=10**9, picture=10**8, crops=10**6)
    assert need.total(128, cost.fitting(need, 128, 20 << 30)) <= (20 << 30) - cost.CONTEXT_BYTES
    (line,) = cost.lines(need, 128, 64, torch.device("cpu"))
    assert line.startswith("memory: about ")
    assert "64 pictures at once" in line
    assert cost.lines(None, 4, 4, torch.device("cpu")) == ["memory: not known before this backbone runs"]
