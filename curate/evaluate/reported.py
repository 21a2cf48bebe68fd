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

REPORTED: tuple[Reported, ...] = (
    Reported(PAPER, "landmarks", "cofw", "test", "nme", 0.0332),
    Reported(PAPER, "landmarks", "aflw19", "full", "nme", 0.0155),
    Reported(PAPER, "reconstruction", "aflw2000", "test", "nme_2d_balanced", 0.0342),
    Reported("FaRL", "landmarks", "300w", "full", "nme", 0.0288),
    Reported("FaRL", "landmarks", "wflw", "test", "nme", 0.0388),
    Reported("FaRL", "landmarks", "aflw19", "full", "nme_diagonal", 0.00938, protocol=True),
    Reported("STAR", "landmarks", "300w", "full", "nme", 0.0287),
    Reported("STAR", "landmarks", "wflw", "test", "nme", 0.0402),
    Reported("3FabRec", "landmarks", "300w", "full", "nme", 0.0382, few_shot=True),
)
