"""`curate export --format huggingface`: Parquet files that `load_dataset` shows, a data set card, and Croissant.

OUT/README.md            card: YAML head, then a datasheet filled from what the build knows
OUT/croissant.json       ML Commons Croissant 1.0
OUT/data/train-*.parquet rows with pictures
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from curate.storage import schemas
from curate.storage.build import Build
from curate.storage.documents import write_json
from curate.storage.files import sha256_file, write_bytes
from curate.storage.manifest import ManifestMetadata
from curate.storage.parquet import open_parquet, write_batches

FILE_FACES = 20_000
"""Faces of a file: about 300 MB, as the hub likes them."""
GROUP_FACES = 256
"""Faces of a row group, so that a viewer reads little."""
ABOUT = {"source": pa.string(), "license": pa.string(), "cluster": pa.int64(), "identity": pa.int64()}
"""Columns beside those of `faces/*.parquet`: of the video, and whom the build takes the face for."""


def schema_of(columns: list[str]) -> pa.Schema:
    """The schema of an export with those columns of faces."""
    fields = [schemas.FACES.field(name) for name in columns if name != "image"]
    fields += [pa.field(name, kind) for name, kind in ABOUT.items()]
    return schemas.hugging_face(pa.schema([schemas.FACES.field("image"), *fields]))


def write(faces: Iterator[tuple[bytes, dict[str, Any]]], out: Path, count: int, columns: list[str]) -> Iterator[None]:
    """Writes `data/`; yields for each face.

    Args:
        count: of the faces.
        columns: of `faces/*.parquet` that every face has.
    """
    schema = schema_of(columns)
    files = max(1, -(-count // FILE_FACES))
    for number in range(files):
        path = out / "data" / f"train-{number:05d}-of-{files:05d}.parquet"
        todo = min(FILE_FACES, count - number * FILE_FACES)
        done = 0

        def groups(todo: int = todo) -> Iterator[pa.Table]:
            nonlocal done
            while done < todo:
                rows = []
                for _ in range(min(GROUP_FACES, todo - done)):
                    picture, known = next(faces)
                    rows.append(known | {"image": {"bytes": picture, "path": f"{known['face_id']}.jpg"}})
                done += len(rows)
                yield pa.Table.from_pylist(rows, schema=schema)

        write_batches(path, schema, groups())
        for _ in range(done):
            yield


def describe(out: Path, build: Build, metadata: ManifestMetadata, name: str) -> None:
    """Writes the card and Croissant of an export whose `data/` is there."""
    licences = Counter(video or "not stated" for video in build.videos["license"].to_pylist())
    write_bytes(out / "README.md", card(build, metadata, name, licences).encode())
    write_json(out / "croissant.json", croissant(out, build, metadata, name, licences))


def card(build: Build, metadata: ManifestMetadata, name: str, licences: Counter[str]) -> str:
    """The card: what the hub reads, then a datasheet in the questions of Gebru et al. (2021)."""
    info, counts = build.info, build.info.counts
    models = "".join(f"- {model['file']} ({model['task']}): {model['licence']}\n" for model in info.backend.models)
    stated = "".join(f"- {plain(licence)}: {count:,} videos\n" for licence, count in licences.most_common(20))
    threshold = f"{metadata.threshold:g}"
    return f"""---
{_front_matter(metadata, name)}---

# {plain(name)}

{metadata.size:,} aligned face crops in {metadata.unique:,} clusters of near-duplicates (cosine {threshold} or more in
the space {metadata.space}; redundancy {metadata.redundancy:.4f}), cut by curate {info.curate} from
{counts.videos:,} videos.

```python
from datasets import load_dataset
faces = load_dataset("FOLDER", split="train")   # this folder, or its name on the hub
```

## Motivation

Made to study how much of a collection of web video is worth training on. Who made this export, for whom and with whose
funds is not known to the program: **fill in**.

## Composition

A row is one face in one frame of one video: `image` (aligned crop, JPEG), where it is (`source`, `frame`, `time_s`,
`bbox`, `landmarks` in pixels of the source frame), how it looks (`yaw`, `pitch`, `roll` in degrees, `sharpness`,
`brightness`, `quality`), and `cluster`, `identity` (numbers that the program found: near-duplicates, and faces that it
takes for one person; no names). The collection it was cut from holds {counts.faces:,} faces, of which
{counts.clusters.get(metadata.space, 0):,} differ. It shows people who were not asked by this program. Faces that
detectors do not find are missing, unevenly over groups of people; nothing here measures that.

## Collection

From {counts.sources:,} sources, of which {counts.failed:,} could not be read and {counts.duplicate:,} are copies of
others, at {info.recipe.get("fps", "?")} frames a second. Models:

{models}
## Preprocessing

Detected, tracked, aligned by five landmarks and cropped; near-duplicates are judged in the space {metadata.space}.
Target redundancy {metadata.redundancy_target}, order {metadata.order}, seed {metadata.seed}, filter
{plain(str(metadata.where or "none"))}.
Content hash of the build: `{metadata.build}`.

## Uses

Pre-training and evaluation of face representations. Not for identifying people, nor for judging what they feel.

## Distribution and licences

Licences as the sources state them, unchecked:

{stated}
## Maintenance

Taken down faces leave the build by `curate forget`; export again afterwards. Whom to ask for removal: **fill in**.
"""


def croissant(out: Path, build: Build, metadata: ManifestMetadata, name: str, licences: Counter[str]) -> dict[str, Any]:
    """Croissant 1.0 of the export."""
    files = sorted((out / "data").glob("*.parquet"))
    schema = open_parquet(files[0]).schema_arrow
    source = {"fileSet": {"@id": "parquet-files"}} if len(files) > 1 else {"fileObject": {"@id": files[0].name}}
    distribution: list[dict[str, Any]] = [
        {
            "@type": "cr:FileObject", "@id": file.name, "name": file.name, "contentUrl": f"data/{file.name}",
            "encodingFormat": "application/x-parquet", "sha256": sha256_file(file),
        }
        for file in files
    ]  # fmt: skip
    if len(files) > 1:
        distribution.append(
            {
                "@type": "cr:FileSet", "@id": "parquet-files", "name": "parquet-files", "includes": "data/*.parquet",
                "encodingFormat": "application/x-parquet",
            }
        )  # fmt: skip
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": name,
        "description": f"{metadata.size} aligned face crops in {metadata.unique} clusters, cut by curate",
        "license": sorted(licences),
        "url": f"urn:sha256:{metadata.build}",
        "version": "1.0.0",
        "datePublished": build.info.created[:10],
        "citeAs": f"curate {build.info.curate}, build {metadata.build}",
        "distribution": distribution,
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "faces",
                "name": "faces",
                "key": {"@id": "faces/face_id"},
                "field": [_field(field, source) for field in schema],
            }
        ],
    }


def _field(field: pa.Field, source: dict[str, Any]) -> dict[str, Any]:
    known: dict[str, Any] = {"@type": "cr:Field", "@id": f"faces/{field.name}", "name": field.name}
    extract: dict[str, Any] = {**source, "extract": {"column": field.name}}
    if field.name == "image":
        return known | {"dataType": "sc:ImageObject", "source": extract | {"transform": {"jsonPath": "bytes"}}}
    kind = field.type
    if pa.types.is_fixed_size_list(kind):
        known["isArray"], known["arrayShape"] = True, f"{kind.list_size}"
        kind = kind.value_type
    return known | {"dataType": _data_type(kind), "source": extract}


def _data_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "sc:Boolean"
    if pa.types.is_integer(kind):
        return "sc:Integer"
    return "sc:Float" if pa.types.is_floating(kind) else "sc:Text"


def _front_matter(metadata: ManifestMetadata, name: str) -> str:
    """YAML that the hub reads."""
    head = {
        "pretty_name": name,
        "license": "other",
        "license_name": "as-stated-by-each-source",
        "task_categories": ["image-feature-extraction"],
        "tags": ["faces", "curate"],
        "size_categories": [_size_category(metadata.size)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    return yaml.safe_dump(head, sort_keys=False, allow_unicode=True)


def _size_category(count: int) -> str:
    """In the hub's words."""
    for limit, name in ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M")):
        if count < limit:
            return name
    return "n>10M"


def plain(text: str) -> str:
    """Text of others in one line of Markdown that stays text."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(text.split())[:200])


CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet",
    "format": "cr:format", "includes": "cr:includes", "isArray": "cr:isArray", "arrayShape": "cr:arrayShape",
    "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath", "key": "cr:key", "md5": "cr:md5",
    "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet", "references": "cr:references",
    "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace", "samplingRate": "cr:samplingRate", "sc": "https://schema.org/",
    "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField", "transform": "cr:transform",
}  # fmt: skip
"""The context that Croissant 1.0 prescribes."""
