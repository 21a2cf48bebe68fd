"""What is not sharded, and that whole tensors are put together and cut up. Steps of sharded weights: test_step.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from curate import pretrain
from curate.errors import UsageError
from curate.pretrain import config, cost, methods, sharding
from curate.pretrain.distributed import World, is_sharded, local, norms

from .tiny import small_resnet, small_vit, tiny

TWO = World(0, 2, 0, torch.device("cpu"))


def test_what_is_not_sharded_is_refused_with_the_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"shard: not for resnet50, only for our transformers .*; use micro_batch"):
        sharding.refuse_unfit(small_resnet(), "resnet50", TWO)
    with pytest.raises(UsageError, match=r"shard: there is one process, .* start more by torchrun, or leave it out"):
        sharding.refuse_unfit(small_vit(), "vit_s", World(0, 1, 0, torch.device("meta")))
    monkeypatch.setattr(sharding, "on_cpu", lambda: False)
    with pytest.raises(UsageError, match=r"shard: torch .* does it on GPUs alone; use a newer torch"):
        sharding.refuse_unfit(small_vit(), "vit_s", TWO)
    with pytest.raises(UsageError, match="shard does not go with compile"):
        config.load(None, {"method": "dino", "shard": True, "compile": True})


def test_a_run_alone_is_refused_before_anything_is_written(manifest: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {"method": "mae", "arch": "vit_s", "steps": 1, "batch": 4, "crop_size": 32, "shard": True}
    with pytest.raises(UsageError, match="shard: "):
        pretrain.run(manifest, tmp_path / "run", overrides=keys)
    assert not (tmp_path / "run").exists()


def test_plain_tensors_are_left_as_they_are() -> None:
    x = torch.randn(3, 2)
    assert not is_sharded(x)
    assert local(x) is x
    assert torch.equal(norms([x])[0], x.norm())
    network = small_vit()
    optimiser = torch.optim.AdamW(network.parameters())
    network(torch.randn(1, 3, 32, 32)).sum().backward()
    optimiser.step()
    state = optimiser.state_dict()
    assert sharding.cut(state, optimiser) == state
    assert sharding.whole({"x": [x], "n": 1}, keep=False) == {"x": [None], "n": 1}


def test_memory_counts_a_part_of_the_weights_and_what_is_whole_for_a_while() -> None:
    method = tiny("dino", arch="vit_s")
    recipe = config.load(None, {"method": "dino", "steps": 1, "crop_size": 32, "shard": True})
    whole = cost.memory(method, recipe.model_copy(update={"shard": False}), 8)
    parts = [cost.memory(method, recipe, processes) for processes in (2, 8, 10**9)]
    assert whole is not None and all(part is not None for part in parts)
    assert [part.picture for part in parts] == [whole.picture] * 3
    assert parts[0].state > parts[1].state > parts[2].state
    numbers = whole.state - 4 * sum(b.numel() for b in method.buffers())
    assert parts[0].state - parts[1].state == pytest.approx(numbers * (1 / 2 - 1 / 8), rel=1e-3)


def test_a_vit_l_needs_less_than_half_on_eight() -> None:
    recipe = config.load(None, {"method": "mae", "arch": "vit_l", "steps": 1, "shard": True})
    with torch.device("meta"):
        method = methods.build(pretrain.build("vit_l"), recipe)
    whole = cost.state(method, recipe.model_copy(update={"shard": False}), 8)
    assert cost.state(method, recipe, 8) < whole / 2
