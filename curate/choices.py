"""What is chosen by name, one list each: recipes, options and Python take the same words."""

from __future__ import annotations

from typing import Literal, get_args

Device = Literal["auto", "cpu", "cuda"]
"""Where networks run; auto: the GPU where there is one."""
FaceBackend = Literal["auto", "insightface", "centerface", "dlib"]
"""What finds faces; auto: insightface where its models are given, else centerface."""
FaceSearch = Literal["follow", "every"]
"""Which frames are searched for faces; follow: some, and faces are followed between them."""
Descriptor = Literal["spectrum", "network"]
"""What makes vectors of appearance: frequencies of a picture, or a small trained network beside them."""
Order = Literal["largest", "random_walk"]
"""Which clusters a manifest takes first."""
FORMER: dict[str, str] = {"met": "random_walk"}
"""Words that were renamed; files, recipes and options that say the old one are understood."""
ExportFormat = Literal["webdataset", "imagefolder", "huggingface", "clips", "shared"]
Method = Literal[
    "swav",
    "simclr",
    "moco",
    "byol",
    "simsiam",
    "dino",
    "mae",
    "mocov3",
    "barlow_twins",
    "vicreg",
    "dinov2",
    "distillation",
    "supervised",
]
"""What a backbone is pre-trained by: the catalogue of `curate/pretrain/methods/`, a file each."""
Arch = str
"""A backbone: one of `ARCHITECTURES`, `vit_s/PATCH`, `MODULE:FUNCTION`, or a name of timm."""
TaskName = Literal["recognition", "landmarks", "action_units", "emotion", "reconstruction"]
Mode = Literal["linear", "finetune", "knn"]
"""What of a backbone and its head is learned when it is measured."""
TableFormat = Literal["text", "markdown", "latex", "html"]

DEVICES: tuple[Device, ...] = get_args(Device)
METHODS: tuple[Method, ...] = get_args(Method)
ARCHITECTURES: tuple[Arch, ...] = (
    "resnet18",
    "resnet18_half",
    "resnet34",
    "resnet50",
    "convnext_t",
    "convnext_s",
    "convnext_b",
    "vit_s",
    "vit_b",
    "vit_l",
)
TASKS: tuple[TaskName, ...] = get_args(TaskName)
MODES: tuple[Mode, ...] = get_args(Mode)
