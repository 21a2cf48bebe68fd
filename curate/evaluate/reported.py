"""Numbers that others report, to stand beside ours and be marked as theirs.

`verified` says whether the number was read in a public source; where it was, the protocol behind it (which normaliser,
which crop) may still be from memory: `protocol` is then False. Errors are shares, as in results.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reported:
    """One number of the literature.

    Attributes:
        who: the method, as tables name it.
        value: in the unit of `Result.value`.
        few_shot: reported for a few-shot protocol rather than for full data.
        verified: the number was read in a public source, not remembered.
        protocol: so was the protocol.
    """

    who: str
    task: str
    dataset: str
    split: str
    metric: str
    value: float
    few_shot: bool = False
    verified: bool = True
    protocol: bool = False


PAPER = "Bulat et al. 2022, VGG-Face2 unsupervised"

FARL_64 = "FaRL, released 64-epoch weights"

REPORTED: tuple[Reported, ...] = (
    Reported(PAPER, "landmarks", "cofw", "test", "nme", 0.0332),
    Reported(PAPER, "landmarks", "aflw19", "full", "nme_diagonal", 0.0155, protocol=True),
    Reported(PAPER, "reconstruction", "aflw2000", "test", "nme_icp", 0.0342),
    Reported(PAPER, "emotion", "affectnet", "test", "ccc_valence", 0.710, protocol=True),
    Reported(PAPER, "emotion", "affectnet", "test", "ccc_arousal", 0.629, protocol=True),
    Reported(PAPER, "emotion", "affectnet", "test", "rmse_valence", 0.356, protocol=True),
    Reported(PAPER, "emotion", "affectnet", "test", "rmse_arousal", 0.326, protocol=True),
    Reported("FaRL", "landmarks", "300w", "full", "nme", 0.0293),
    Reported("FaRL", "landmarks", "wflw", "test", "nme", 0.0396),
    Reported("FaRL", "landmarks", "aflw19", "full", "nme_diagonal", 0.00943, protocol=True),
    Reported(FARL_64, "landmarks", "300w", "full", "nme", 0.0288),
    Reported(FARL_64, "landmarks", "wflw", "test", "nme", 0.0388),
    Reported(FARL_64, "landmarks", "aflw19", "full", "nme_diagonal", 0.00938, protocol=True),
    Reported("STAR", "landmarks", "300w", "full", "nme", 0.0287, protocol=True),
    Reported("STAR", "landmarks", "wflw", "test", "nme", 0.0402, protocol=True),
    Reported("STAR", "landmarks", "cofw", "test", "nme", 0.0321, protocol=True),
    Reported("HRNet, public code", "landmarks", "300w", "full", "nme", 0.0334),
    Reported("HRNet, public code", "landmarks", "wflw", "test", "nme", 0.0460),
    Reported("HRNet, public code", "landmarks", "cofw", "test", "nme", 0.0345),
    Reported("HRNet, public code", "landmarks", "aflw19", "full", "nme_diagonal", 0.0157),
    Reported("3FabRec", "landmarks", "300w", "full", "nme", 0.0382),
    Reported("3FabRec", "landmarks", "300w", "common", "nme", 0.0336),
    Reported("3FabRec", "landmarks", "300w", "challenging", "nme", 0.0574),
)
