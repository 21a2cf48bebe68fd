"""The Arrow schemas of every Parquet file in a build. `manifests/README.md` explains each column to users."""

from __future__ import annotations

import json

import pyarrow as pa

VIDEOS = pa.schema(
    [
        ("video_id", pa.string()),
        ("source", pa.string()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("error_kind", pa.string()),
        ("duplicate_of", pa.string()),
        ("content_sha256", pa.string()),
        ("container", pa.string()),
        ("codec", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("fps", pa.float64()),
        ("duration_s", pa.float64()),
        ("frames_total", pa.int64()),
        ("frames_sampled", pa.int64()),
        ("frames_damaged", pa.int64()),
        ("faces", pa.int64()),
        ("title", pa.string()),
        ("uploader", pa.string()),
        ("license", pa.string()),
        ("webpage_url", pa.string()),
        ("retrieved_at", pa.timestamp("us", tz="UTC")),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("format_id", pa.string()),
        ("rotation", pa.int32()),
        ("mirrored", pa.bool_()),
        ("sample_aspect_ratio", pa.float64()),
        ("field_order", pa.string()),
        ("color_transfer", pa.string()),
        ("header_sha256", pa.string()),
        ("bytes_fetched", pa.int64()),
        ("whole_because", pa.string()),
    ]
)

DUPLICATES = pa.schema(
    [
        ("video_id", pa.string()),
        ("duplicate_of", pa.string()),
        (
            "spans",
            pa.list_(pa.struct([(name, pa.float64()) for name in ("start_s", "end_s", "of_start_s", "of_end_s")])),
        ),
        ("kind", pa.string()),
        ("whole", pa.bool_()),
        (
            "evidence",
            pa.struct(
                [
                    ("faces", pa.int64()),
                    ("similarity", pa.float64()),
                    ("correlation", pa.float64()),
                    ("elsewhere", pa.float64()),
                    ("speed", pa.float64()),
                    ("mirrored", pa.bool_()),
                    ("scene", pa.float64()),
                ]
            ),
        ),
    ]
)

IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

_FACE_COLUMNS = pa.schema(
    [
        ("face_id", pa.string()),
        ("video_id", pa.string()),
        ("frame", pa.int32()),
        ("time_s", pa.float64()),
        ("shot", pa.int32()),
        ("track", pa.int32()),
        ("bbox", pa.list_(pa.float32(), 4)),
        ("landmarks", pa.list_(pa.float32(), 10)),
        ("score", pa.float32()),
        ("yaw", pa.float32()),
        ("pitch", pa.float32()),
        ("roll", pa.float32()),
        ("sharpness", pa.float32()),
        ("brightness", pa.float32()),
        ("mouth_open", pa.float32()),
        ("eyes_open", pa.float32()),
        ("quality", pa.float32()),
        ("phash", pa.uint64()),
        ("pts", pa.int64()),
        ("first_instant", pa.int64()),
        ("last_instant", pa.int64()),
        ("crop_matrix", pa.list_(pa.float32(), 6)),
        ("inherited", pa.bool_()),
        ("scene", pa.binary()),
        ("image", IMAGE),
    ]
)


def hugging_face(schema: pa.Schema) -> pa.Schema:
    """The schema with metadata that make Hugging Face `datasets` show pictures, not bytes, in columns of that kind."""

    def feature(kind: pa.DataType) -> dict[str, object]:
        if kind == IMAGE:
            return {"_type": "Image"}
        if pa.types.is_fixed_size_list(kind):
            return {"_type": "Sequence", "length": kind.list_size, "feature": feature(kind.value_type)}
        names = {pa.float32(): "float32", pa.float64(): "float64"}
        return {"_type": "Value", "dtype": names.get(kind, str(kind))}

    features = {field.name: feature(field.type) for field in schema}
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": features}})})


FACES = hugging_face(_FACE_COLUMNS)
LATER = ("mouth_open", "eyes_open", "scene")
"""Columns that builds of older versions lack; their rows are null there when they are written again."""

CLUSTERS = pa.schema(
    [
        ("face_id", pa.string()),
        ("cluster", pa.int64()),
        ("representative", pa.bool_()),
        ("similarity", pa.float32()),
    ]
)

DECONTAMINATION = pa.schema(
    [
        ("face_id", pa.string()),
        ("by", pa.string()),
        ("match", pa.string()),
        ("similarity", pa.float32()),
        ("mirrored", pa.bool_()),
        ("direct", pa.bool_()),
    ]
)

MANIFEST = pa.schema(
    [
        ("face_id", pa.string()),
        ("video_id", pa.string()),
        ("cluster", pa.int64()),
        ("representative", pa.bool_()),
        ("file", pa.string()),
        ("row", pa.int64()),
    ]
)


def embeddings(dimension: int) -> pa.Schema:
    """Schema of `embeddings/<space>/*.parquet` for vectors of `dimension` numbers."""
    return pa.schema([("face_id", pa.string()), ("vector", pa.list_(pa.float16(), dimension))])
