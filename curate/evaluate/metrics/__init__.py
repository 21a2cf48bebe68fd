"""Metrics: pure NumPy in float64, exact, with degenerate input defined. See docs/evaluate.md for the definitions."""

from __future__ import annotations

from curate.evaluate.metrics.agreement import ccc, icc, icc_3_1, mae, mse, pcc, rmse, sagr
from curate.evaluate.metrics.classes import accuracy, balanced_accuracy, confusion, f1, macro_f1
from curate.evaluate.metrics.identification import rank_accuracy, tpir_at_fpir, tpir_at_pooled_fpir
from curate.evaluate.metrics.influence import ccc_each, f1_each, icc_each, macro_f1_each, tar_each
from curate.evaluate.metrics.landmarks import (
    auc,
    box_size,
    ced,
    diagonal,
    failure_rate,
    inter_ocular,
    inter_pupil,
    mean_error,
    nme,
    nme_each,
    tight_boxes,
)
from curate.evaluate.metrics.shape import YAW_BINS, by_yaw, icp_error, shape_nme, shape_nme_each, surface_error
from curate.evaluate.metrics.verification import (
    Roc,
    best_threshold,
    eer,
    fold_accuracies,
    fold_errors,
    roc,
    roc_auc,
    tar_at_far,
    ten_fold_accuracy,
)

__all__ = [
    "YAW_BINS",
    "Roc",
    "accuracy",
    "auc",
    "balanced_accuracy",
    "best_threshold",
    "box_size",
    "by_yaw",
    "ccc",
    "ccc_each",
    "ced",
    "confusion",
    "diagonal",
    "eer",
    "f1",
    "f1_each",
    "failure_rate",
    "fold_accuracies",
    "fold_errors",
    "icc",
    "icc_3_1",
    "icc_each",
    "icp_error",
    "inter_ocular",
    "inter_pupil",
    "macro_f1",
    "macro_f1_each",
    "mae",
    "mean_error",
    "mse",
    "nme",
    "nme_each",
    "pcc",
    "rank_accuracy",
    "rmse",
    "roc",
    "roc_auc",
    "sagr",
    "shape_nme",
    "shape_nme_each",
    "surface_error",
    "tar_at_far",
    "tar_each",
    "ten_fold_accuracy",
    "tight_boxes",
    "tpir_at_fpir",
    "tpir_at_pooled_fpir",
]
