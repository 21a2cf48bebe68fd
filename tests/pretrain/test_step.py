"""Steps alone and by two processes: the loss and the weights are those of the whole batch however it is cut."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from curate.errors import UsageError
from curate.pretrain import config
from curate.pretrain.distributed import World
from curate.pretrain.step import Stepper, shares, still_statistics

from . import processes, worker

ALONE = World(0, 1, 0, torch.device("cpu"))


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 1e-4) -> None:
    assert a.keys() == b.keys()
    for name in a:
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(
                a[name], b[name], atol=tolerance, rtol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
            )


@pytest.mark.parametrize("method", [name for name in config.METHODS if name != "mae"])
def test_pieces_equal_the_whole_batch(method: str) -> None:
    """Without batch norm, which alone sees the pieces, accumulation changes nothing: not even Sinkhorn or negatives."""
    whole, losses = worker.train(worker.recipe_of(method), ALONE, norm=False)
    pieces, same = worker.train(worker.recipe_of(method, micro_batch=2), ALONE, norm=False)
    assert same == pytest.approx(losses, rel=1e-4)
    assert_same(whole, pieces)


@pytest.mark.parametrize("method", config.METHODS)
def test_every_method_resumes_to_the_same_bits(method: str) -> None:
    """What a checkpoint holds is all that a step depends on: queues, centres and masks too."""
    recipe = worker.recipe_of(method)
    whole, losses = worker.train(recipe, ALONE)
    states, seen = None, []
    for steps in (range(2), range(2, worker.STEPS)):
        stepper = Stepper(worker.network(recipe), recipe, ALONE, worker.STEPS, 2)
        if states is not None:
            stepper.method.load_state_dict(states[0])
            stepper.optimiser.load_state_dict(states[1])
        seen += [worker.one(stepper, step) for step in steps]
        states = copy.deepcopy((stepper.method.state_dict(), stepper.optimiser.state_dict()))
    assert seen == losses
    assert_same(whole, states[0], 0.0)


def test_pieces_of_mae_hide_the_same_patches_in_both_passes() -> None:
    recipe = worker.recipe_of("mae", micro_batch=4)
    state, losses = worker.train(recipe, ALONE)
    again, same = worker.train(recipe, ALONE)
    assert losses == same
    assert_same(state, again, 0.0)


def test_the_pass_without_gradients_leaves_statistics_alone() -> None:
    method = worker.network(worker.recipe_of("simclr"))
    before = {name: value.clone() for name, value in method.state_dict().items()}
    x = torch.randn(4, 3, 32, 32)
    with still_statistics(method):
        still = method([x, x])["embedding"]
    assert all(torch.equal(value, before[name]) for name, value in method.state_dict().items())
    torch.testing.assert_close(still, method([x, x])["embedding"])  # yet they normalise by the batch
    assert not torch.equal(method.backbone.bn1.running_mean, before["backbone.bn1.running_mean"])


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What worker.py gives in two processes over gloo."""
    out = tmp_path_factory.mktemp("two")
    processes.finish(processes.two("tests.pretrain.worker", str(out)))
    return [torch.load(out / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("method", [name for name in config.METHODS if name != "mae"])
def test_two_processes_equal_one(together: list[dict[str, Any]], method: str) -> None:
    """Same pictures, crops, statistics, negatives, queue and gradients: the same weights, up to rounding."""
    alone, losses = worker.train(worker.recipe_of(method), ALONE)
    for state, same in (rank[method] for rank in together):
        assert same == pytest.approx(losses, rel=2e-3, abs=1e-3)
        assert_same(alone, state, 5e-3)


def test_processes_agree(together: list[dict[str, Any]]) -> None:
    first, second = together
    for case in (*config.METHODS, *(name for name in first if "norms" in name)):
        if "norms" not in case:  # running statistics are of a process then
            assert_same(first[case][0], second[case][0], 1e-6)
        assert first[case][1] == second[case][1]
    _, losses = first["mae"]
    assert all(torch.isfinite(torch.tensor(losses)))


@pytest.mark.parametrize("method", config.METHODS)
def test_two_processes_resume_to_the_same_bits(together: list[dict[str, Any]], method: str) -> None:
    for rank in together:
        (whole, losses), (resumed, same) = rank[method], rank[f"{method}, resumed"]
        assert same == losses[worker.STEPS // 2 :]
        assert_same(whole, resumed, 0.0)


def test_moco_shuffles_where_norms_are_apart(together: list[dict[str, Any]]) -> None:
    first, second = (rank["moco, norms apart"][0] for rank in together)
    parameters = [n for n in first if "running" not in n and "tracked" not in n]
    assert_same({n: first[n] for n in parameters}, {n: second[n] for n in parameters}, 1e-6)
    torch.testing.assert_close(first["queue"].norm(dim=1), torch.ones(16))


def test_batch_norm_over_groups_of_processes(together: list[dict[str, Any]]) -> None:
    """In groups of one process each, ours is torch's own batch norm."""
    for rank in together:
        losses, same = rank["simclr, norms apart"][1], rank["simclr, norms by one"][1]
        assert same[0] == pytest.approx(losses[0], rel=1e-5)
        assert same == pytest.approx(losses, rel=1e-2)  # rounding grows from step to step
        assert losses[0] != pytest.approx(rank["simclr"][1][0], rel=1e-2)


@pytest.fixture
def shards(together: list[dict[str, Any]]) -> dict[str, Any]:
    """Of the first process, which has the whole weights."""
    if "sharded" not in "".join(together[0]):
        pytest.skip("torch is too old to shard on a CPU")
    return together[0]


class TestSharding:
    @pytest.mark.parametrize("case", [*worker.SHARDED, "dinov2", "scaled"])
    def test_losses_and_weights_are_those_of_whole_ones(self, shards: dict[str, Any], case: str) -> None:
        (sharded, losses), (whole, same) = shards[f"{case}, sharded"], shards[f"{case}, in each"]
        assert losses == pytest.approx(same, rel=1e-4, abs=1e-5)
        assert_same(sharded, whole, 1e-5)

    @pytest.mark.parametrize("method", ["dino", "swav"])
    def test_a_checkpoint_goes_on_to_the_same_bits(self, shards: dict[str, Any], method: str) -> None:
        (whole, losses), (resumed, same) = shards[f"{method}, sharded"], shards[f"{method}, sharded, resumed"]
        assert same == losses[worker.STEPS // 2 :]
        assert_same(whole, resumed, 0.0)

    def test_a_checkpoint_goes_on_without_sharding_and_alone(self, shards: dict[str, Any]) -> None:
        (whole, losses), (resumed, same) = shards["dino, sharded"], shards["dino, sharded at first"]
        assert same == pytest.approx(losses[worker.STEPS // 2 :], rel=1e-4)
        assert_same(whole, resumed, 1e-5)

    def test_gradients_that_overflow_are_seen_by_all(self, shards: dict[str, Any]) -> None:
        *_, scale = shards["scaled, sharded"][1]
        assert scale == 2.0 ** (worker.SCALE - 30)

    def test_each_process_holds_half(self, together: list[dict[str, Any]], shards: dict[str, Any]) -> None:
        (*first, weights, momenta), second = shards["parts"], together[1]["parts"]
        assert [a + b for a, b in zip(first, second, strict=False)] == [weights, momenta]
        assert max(first[0] / weights, first[1] / momenta, second[0] / weights) < 0.51


def test_pieces_in_two_processes_equal_one(together: list[dict[str, Any]]) -> None:
    alone, losses = worker.train(worker.recipe_of("swav"), ALONE, norm=False)
    for state, same in (rank["swav in pieces"] for rank in together):
        assert same == pytest.approx(losses, rel=1e-3)
        assert_same(alone, state, 1e-3)


class Transfers(TorchDispatchMode):
    """Counts what makes a device wait or be waited for: copies between devices, numbers read, rows found by masks."""

    WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "unique", "equal", "item")

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        inputs = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        places = {x.device.type for x in (*inputs, *(x for x in tree_leaves(out) if isinstance(x, torch.Tensor)))}
        if name in self.WAITS and "meta" in places:
            self.seen.append(name)
        if name in ("_to_copy", "copy_") and len(places) > 1:
            self.seen.append(f"{name} {[tuple(x.shape) for x in inputs]}")
        if name.startswith("index"):
            chosen = [x for x in tree_leaves(args[1:]) if isinstance(x, torch.Tensor)]
            self.seen += ["index by a mask" for x in chosen if x.dtype == torch.bool]
            self.seen += ["index from the CPU" for x in chosen if x.device.type == "cpu" and len(places) > 1]
        return out


class Constants(TorchFunctionMode):
    """Counts numbers of Python that are sent to the device."""

    def __init__(self, seen: list[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        if name in ("tensor", "as_tensor", "new_tensor") and out.device.type == "meta":
            self.seen.append(name)
        if name in ("__getitem__", "__setitem__") and any(isinstance(x, list) for x in tree_leaves(args[1], list_)):
            self.seen.append("a list as an index")
        return out


def list_(x: object) -> bool:
    return isinstance(x, list)


def test_what_waits_is_counted() -> None:
    x, mask = torch.empty(4, 3, device="meta"), torch.empty(4, dtype=torch.bool, device="meta")
    for wait in (
        lambda: torch.zeros(2).to("meta"),
        lambda: x.new_tensor([1.0]),
        lambda: torch.tensor([1.0], device="meta"),
        lambda: x[:, [0, 2]],
        lambda: float(x.sum()),
        lambda: x[mask],
    ):
        with Transfers() as transfers, Constants(transfers.seen):
            try:
                wait()
            except (NotImplementedError, RuntimeError):  # no such numbers are to be had there
                transfers.seen.append("refused")
        assert transfers.seen


@pytest.mark.parametrize(
    ("method", "pieces", "decoded"),
    [*((name, 1, "cpu") for name in config.METHODS), ("swav", 2, "cpu"), ("swav", 1, "meta")],
)
def test_a_step_waits_for_nothing(method: str, pieces: int, decoded: str) -> None:
    """One transfer a step beside the pictures', on a device that has shapes and no numbers to wait for.

    Pictures that were decoded on the device need none.
    """
    recipe = worker.recipe_of(method, micro_batch=worker.BATCH // pieces)
    world = World(0, 1, 0, torch.device("meta"))
    stepper = Stepper(worker.network(recipe).to("meta"), recipe, world, worker.STEPS, 2)
    labels = torch.arange(worker.BATCH) % worker.CLASSES if recipe.kind.needs_labels else None
    images = torch.empty(worker.BATCH, 32, 32, 3, dtype=torch.uint8, device=decoded)
    counts = []
    for step in range(2):
        with Transfers() as transfers, Constants(transfers.seen):
            loss = stepper(images.to("meta"), labels, stepper.info(step))
        assert loss.device.type == "meta"
        counts.append(transfers.seen)
    wanted = 2 if decoded == "cpu" else 1
    assert len(counts[-1]) == wanted, counts[-1]  # the pictures, and all that chance decides with the labels


def test_half_precision_learns_much_the_same() -> None:
    slow = {"optimiser.lr": 1e-4}
    _, full = worker.train(worker.recipe_of("simclr", **slow), ALONE)
    _, half = worker.train(worker.recipe_of("simclr", precision="bf16", **slow), ALONE)
    assert half == pytest.approx(full, rel=0.05)
    assert half != full


@pytest.mark.parametrize(
    ("overrides", "size", "message"),
    [
        ({"batch": 9}, 2, "cannot be shared equally by 2 processes"),
        ({"batch": 8, "micro_batch": 3}, 1, "does not divide the 8 pictures of a process; use 2"),
        ({"batch": 8, "micro_batch": 1}, 1, "at least 2 pictures"),
        ({"precision": "fp16"}, 1, "needs a GPU"),
    ],
)
def test_batches_that_do_not_come_out_even(overrides: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        shares(worker.recipe_of("simclr", **overrides), World(0, size, 0, torch.device("cpu")))


def test_draws_are_those_of_the_whole_batch_in_any_process() -> None:
    recipe = worker.recipe_of("swav")
    images = torch.randint(0, 256, (8, 32, 32, 3), dtype=torch.uint8)
    info = Stepper(worker.network(recipe), recipe, ALONE, 4, 2).info(3)
    whole = Stepper(worker.network(recipe), recipe, ALONE, 4, 2).render(images, None, info)
    stepper = Stepper(worker.network(recipe), recipe, ALONE, 4, 2)
    stepper.world, stepper.share, stepper.micro = World(1, 2, 1, torch.device("cpu")), 4, 4
    half = stepper.render(images[4:], None, info)
    assert len(whole[0].crops) == 8
    for a, b in zip(whole[0].crops, half[0].crops, strict=True):
        assert torch.equal(a[4:], b)


def test_crops_are_those_of_the_recipe() -> None:
    recipe = config.load(None, {"method": "swav", "steps": 1, "batch": 2, "arch": "resnet18"})
    stepper = Stepper(worker.network(recipe), recipe, ALONE, 4, 2)
    images = torch.zeros(2, 32, 32, 3, dtype=torch.uint8)
    (piece,) = stepper.render(images, None, stepper.info(0))
    crops = piece.crops
    assert [tuple(crop.shape) for crop in crops] == [(2, 3, 224, 224)] * 2 + [(2, 3, 96, 96)] * 6
    assert all(crop.is_contiguous(memory_format=torch.channels_last) for crop in crops)
    black = -torch.tensor(recipe.augment.mean) / torch.tensor(recipe.augment.std)
    grey = F.normalize(crops[0].mean((0, 2, 3)), dim=0)
    torch.testing.assert_close(grey, F.normalize(black, dim=0), atol=1e-3, rtol=1e-3)
