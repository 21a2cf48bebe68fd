"""What the page asks of a build: SQL over its columns, held in memory without pictures (some 150 bytes a face)."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from curate.errors import UsageError
from curate.storage.build import Build
from curate.storage.parquet import read_table
from curate.storage.pictures import StoredPictures

FACE_COLUMNS = ["face_id", "video_id", "track", "time_s", "yaw", "pitch", "quality"]
MOST = 200
"""Rows of an answer at most."""
NAMED = (
    "f.row, f.face_id, v.source, f.time_s, f.track, f.similarity, f.representative, f.quality, f.yaw, f.pitch, f.person"
)


@dataclass(frozen=True)
class FaceFilter:
    """Which faces are shown; None and empty filter nothing.

    Attributes:
        source: part of a video's source or title.
        person: number in the identity space.
        quality: least quality, 0 to 1.
        yaw, pitch: largest angle either way, degrees.
    """

    source: str = ""
    person: int | None = None
    quality: float = 0.0
    yaw: float = 180.0
    pitch: float = 180.0

    def sql(self) -> tuple[str, list[Any]]:
        """A condition over `f` (faces) and `v` (videos), and its values."""
        parts, values = ["f.quality >= ?", "abs(f.yaw) <= ?", "abs(f.pitch) <= ?"], [self.quality, self.yaw, self.pitch]
        if self.source:
            parts.append("(contains(lower(v.source), lower(?)) OR contains(lower(coalesce(v.title, '')), lower(?)))")
            values += [self.source, self.source]  # type: ignore[list-item]
        if self.person is not None:
            parts.append("f.person = ?")
            values.append(self.person)
        return " AND ".join(parts), list(values)


class BuildTables:
    """Faces with their cluster, videos and manifests of one build; safe from several threads.

    Args:
        build: a finished one.

    Raises:
        UsageError: it lacks a file.
    """

    def __init__(self, build: Build) -> None:
        self.build = build
        self._lock = threading.Lock()
        self._db = duckdb.connect()
        self._db.execute("SET enable_progress_bar = false")
        faces = build.faces(FACE_COLUMNS)
        cover = build.clusters("appearance").select(["cluster", "representative", "similarity"])
        person = pa.nulls(len(faces), pa.int64())
        if "identity" in build.spaces:
            person = build.clusters("identity")["cluster"]
        table = faces.append_column("row", pa.array(range(len(faces)), pa.int64())).append_column("person", person)
        for name in cover.column_names:
            table = table.append_column(name, cover[name])
        self._create("faces", table)
        self._create("videos", build.videos)
        self._manifests: set[str] = set()
        self._pictures = StoredPictures(build.face_files())
        self._first = np.r_[0, np.cumsum(self._pictures.rows)]

    def _create(self, name: str, table: pa.Table) -> None:
        self._db.register("incoming", table)
        self._db.execute(f"CREATE TABLE {name} AS SELECT * FROM incoming")
        self._db.unregister("incoming")

    def _ask(self, sql: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
        with self._lock:
            found = self._db.execute(sql, values or [])
            names = [column[0] for column in found.description]
            rows = found.fetchall()
        return [dict(zip(names, row, strict=True)) for row in rows]

    def clusters(self, chosen: FaceFilter, offset: int, limit: int) -> dict[str, Any]:
        """Representatives of clusters of which some face passes, the largest first, with the number that pass."""
        where, values = chosen.sql()
        passing = (
            "SELECT f.cluster, count(*) AS passing FROM faces f JOIN videos v USING (video_id) "
            f"WHERE {where} GROUP BY 1"
        )
        total = "SELECT count(*) AS clusters, coalesce(sum(passing), 0)::BIGINT AS faces"
        counts = self._ask(f"{total} FROM ({passing})", values)
        rows = self._ask(
            f"SELECT f.cluster, p.passing, n.size, {NAMED} FROM ({passing}) p "
            "JOIN (SELECT cluster, count(*) AS size FROM faces GROUP BY 1) n USING (cluster) "
            "JOIN faces f ON f.cluster = p.cluster AND f.representative JOIN videos v USING (video_id) "
            "ORDER BY p.passing DESC, f.row LIMIT ? OFFSET ?",
            [*values, min(limit, MOST), offset],
        )
        return counts[0] | {"rows": rows}

    def members(self, cluster: int) -> list[dict[str, Any]]:
        """A cluster: its representative, then those that it stands for, the least similar first."""
        sql = f"SELECT {NAMED} FROM faces f JOIN videos v USING (video_id) WHERE f.cluster = ? "
        return self._ask(sql + "ORDER BY f.representative DESC, f.similarity, f.row LIMIT ?", [cluster, MOST])

    def videos(self, text: str, offset: int, limit: int) -> list[dict[str, Any]]:
        """Videos in the order of the list, with the faces of each that are kept."""
        return self._ask(
            "SELECT v.video_id, v.source, v.title, v.status, v.error_kind, v.error, v.license, v.duplicate_of, "
            "v.duration_s, v.faces, coalesce(k.kept, 0) AS kept "
            "FROM (SELECT *, row_number() OVER () AS place FROM videos) v "
            "LEFT JOIN (SELECT video_id, count(*) FILTER (representative) AS kept FROM faces GROUP BY 1) k "
            "USING (video_id) "
            "WHERE contains(lower(v.source), lower(?)) OR contains(lower(coalesce(v.title, '')), lower(?)) "
            "ORDER BY v.place LIMIT ? OFFSET ?",
            [text, text, min(limit, MOST), offset],
        )

    def video(self, video_id: str) -> list[dict[str, Any]]:
        """The faces of a video by track and time, each beside the one that stands for it (`head`)."""
        sql = f"SELECT {NAMED}, h.row AS head, h.face_id AS head_id FROM faces f JOIN videos v USING (video_id) "
        joined = "JOIN faces h ON h.cluster = f.cluster AND h.representative WHERE f.video_id = ? "
        return self._ask(sql + joined + "ORDER BY f.track, f.time_s, f.row LIMIT ?", [video_id, 5 * MOST])

    def at_threshold(self, threshold: float) -> dict[str, Any]:
        """How many faces would be kept at a cosine, and the dropped ones that lie at that border.

        Counts are those of the redundancy curve, each from a cover of its own, and on a straight line between them.
        """
        curve = sorted(self.build.redundancy()["curve"], key=lambda point: point["threshold"])
        below = max((p for p in curve if p["threshold"] <= threshold), key=lambda p: p["threshold"], default=curve[0])
        above = min((p for p in curve if p["threshold"] >= threshold), key=lambda p: p["threshold"], default=curve[-1])
        width = above["threshold"] - below["threshold"]
        share = (threshold - below["threshold"]) / width if width > 0 else 0.0
        kept = below["clusters"] + share * (above["clusters"] - below["clusters"])
        sql = (
            f"SELECT {NAMED}, h.row AS head, h.face_id AS head_id FROM faces f JOIN videos v USING (video_id) "
            "JOIN faces h ON h.cluster = f.cluster AND h.representative WHERE NOT f.representative "
            "ORDER BY abs(f.similarity - ?), f.row LIMIT 12"
        )
        within = self._ask("SELECT count(*) AS n FROM faces WHERE NOT representative AND similarity >= ?", [threshold])
        faces = self.build.info.counts.faces
        return {
            "threshold": threshold, "kept": round(kept), "faces": faces, "exact": width == 0,
            "dropped_within": within[0]["n"], "pairs": self._ask(sql, [threshold]),
        }  # fmt: skip

    def copies(self) -> list[dict[str, Any]]:
        """Copies of videos with what they copy, and their matching spans where the build has them."""
        path = self.build.path / "duplicates.parquet"
        source = {
            row["video_id"]: row["source"] for row in self.build.videos.select(["video_id", "source"]).to_pylist()
        }
        if path.is_file():
            rows = read_table(path).slice(0, MOST).to_pylist()
        else:
            rows = [row for row in self.build.videos.to_pylist() if row["duplicate_of"]][:MOST]
        return [
            {
                "source": source.get(row["video_id"]), "of": source.get(row["duplicate_of"]), "kind": row.get("kind"),
                "spans": row.get("spans") or [],
            }
            for row in rows
        ]  # fmt: skip

    def two_manifests(self, first: str, second: str) -> dict[str, Any]:
        """Two manifests side by side: sizes, what they share, and some faces that only one of them has."""
        for name in (first, second):
            if name not in self._manifests:
                table = self.build.manifest(name).select(["face_id", "cluster"])
                with self._lock:
                    self._create(
                        f"manifest_{len(self._manifests)}", table.append_column("name", pa.array([name] * len(table)))
                    )
                    self._manifests.add(name)
        union = " UNION ALL ".join(f"SELECT * FROM manifest_{i}" for i in range(len(self._manifests)))
        known = f"WITH m AS ({union}) "
        sizes = self._ask(
            known + "SELECT name, count(*) AS faces, count(DISTINCT cluster) AS clusters "
            "FROM m WHERE name IN (?, ?) GROUP BY 1 ORDER BY 1",
            [first, second],
        )
        shared = "(SELECT face_id FROM m WHERE name = ?)"
        both = self._ask(known + f"SELECT count(*) AS n FROM m WHERE name = ? AND face_id IN {shared}", [first, second])
        only = {}
        for own, other in ((first, second), (second, first)):
            sql = (
                f"SELECT {NAMED} FROM m JOIN faces f USING (face_id) JOIN videos v USING (video_id) "
                f"WHERE m.name = ? AND face_id NOT IN {shared} ORDER BY hash(face_id) LIMIT 24"
            )
            only[own] = self._ask(known + sql, [own, other])
        return {"sizes": sizes, "shared": both[0]["n"], "only": only}

    def picture(self, row: int) -> bytes:
        """The stored crop of a face.

        Raises:
            UsageError: there is no such row.
        """
        if not 0 <= row < self.build.info.counts.faces:
            raise UsageError(f"row {row}: the build has {self.build.info.counts.faces} faces")
        file = int(np.searchsorted(self._first, row, side="right")) - 1
        with self._lock:
            return self._pictures.jpeg(file, row - int(self._first[file]))
