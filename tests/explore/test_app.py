"""The page of a build: its answers against the build itself, its guards, and a browser that clicks."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from curate.errors import UsageError
from curate.explore.app import application
from curate.explore.study import study_view
from curate.explore.tables import BuildTables
from curate.storage.build import Build, open_build
from curate.study import find, headline, results
from tests.browser import SCREENS, Browser, chromium, faults
from tests.run.test_page import HOSTILE, make
from tests.study.invented import lines, redundancy_hurts

PARTS = {"base_url": "http://127.0.0.1:8765"}


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    return open_build(make(tmp_path_factory.mktemp("explore") / "build", 300, 10))


@pytest.fixture(scope="module")
def client(build: Build) -> Iterator[TestClient]:
    with TestClient(application(BuildTables(build)), **PARTS) as found:
        yield found


def ask(client: TestClient, path: str, **values: Any) -> Any:
    response = client.get(f"/api/{path}", params=values)
    assert response.status_code == 200, response.text
    return response.json()


def test_clusters_are_those_of_the_build(client: TestClient, build: Build) -> None:
    found = ask(client, "clusters", limit=200)
    table = build.clusters()
    sizes = np.bincount(table["cluster"].to_numpy())
    assert (found["faces"], found["clusters"]) == (300, len(sizes))
    assert {row["cluster"]: row["size"] for row in found["rows"]} == dict(enumerate(sizes.tolist()))
    assert all(row["representative"] for row in found["rows"])
    first = found["rows"][0]["cluster"]
    members = ask(client, "cluster", id=first)
    assert len(members) == sizes[first] and members[0]["representative"]
    cosines = [member["similarity"] for member in members[1:]]
    assert cosines == sorted(cosines)


def test_filters_and_pages(client: TestClient) -> None:
    assert ask(client, "clusters", quality=1.01)["faces"] == 0
    assert ask(client, "clusters", source="no such video")["faces"] == 0
    assert ask(client, "clusters", yaw=0, pitch=0)["faces"] == 300  # all of these look straight
    pages = [ask(client, "clusters", offset=offset, limit=10)["rows"] for offset in (0, 10, 20)]
    assert len({row["cluster"] for page in pages for row in page}) == 30
    assert len(ask(client, "videos", limit=4)) == 4


def test_each_dropped_face_is_beside_the_one_that_stands_for_it(client: TestClient, build: Build) -> None:
    video = ask(client, "videos")[0]
    faces = ask(client, "video", id=video["video_id"])
    known = build.faces(["video_id"])["video_id"].to_pylist().count(video["video_id"])
    assert len(faces) == known and sum(face["representative"] for face in faces) == video["kept"]
    cluster = build.clusters()["cluster"].to_pylist()
    assert all(cluster[face["head"]] == cluster[face["row"]] for face in faces)


def test_the_slider_counts_and_shows_pairs_at_the_border(client: TestClient, build: Build) -> None:
    for point in build.redundancy()["curve"]:
        found = ask(client, "threshold", t=point["threshold"])
        assert found["exact"] and found["kept"] == point["clusters"]
    found = ask(client, "threshold", t=0.95)
    distance = [abs(pair["similarity"] - 0.95) for pair in found["pairs"]]
    assert distance == sorted(distance) and 0 < len(distance) <= 12


def test_pictures_come_from_the_build(client: TestClient, build: Build) -> None:
    for row in (0, 299):
        response = client.get(f"/face/{row}.jpg")
        assert response.headers["content-type"] == "image/jpeg"
        assert response.content == next(build.pictures(np.array([row])))
    assert client.get("/face/300.jpg").status_code == 404


def test_only_this_machine_and_only_reading(build: Build, client: TestClient) -> None:
    page = client.get("/")
    policy = page.headers["content-security-policy"]
    assert page.status_code == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    assert "http" not in page.text.replace("http-equiv", "")
    for method in ("post", "put", "delete", "patch"):
        assert getattr(client, method)("/api/summary").status_code == 405
    assert client.get("/api/summary", headers={"host": "evil.example"}).status_code == 400
    assert client.get("/../build.json").status_code == 404 and client.get("/%2e%2e/app.py").status_code == 404
    assert client.get("/api/cluster", params={"id": "1; DROP TABLE faces"}).status_code == 400
    assert client.get("/api/video", params={"id": "' OR 1=1 --"}).json() == []


def test_a_study_is_shown_as_it_was_left(build: Build, client: TestClient, tmp_path: Path) -> None:
    assert client.get("/api/study").status_code == 400 and client.get("/figure/a.svg").status_code == 404
    measured = lines(redundancy_hurts)
    results.append(tmp_path / "results.jsonl", measured)
    cells = sorted({line.columns["cell"] for line in measured})
    (tmp_path / "study.json").write_text(json.dumps({"recipe": {"compare": {}}, "cells": cells}))
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "a b.svg").write_text("<svg><script>alert(1)</script></svg>")
    with TestClient(application(BuildTables(build), study_view(tmp_path)), **PARTS) as with_study:
        found = ask(with_study, "study")
        assert found["headline"] == headline(find(measured)) and found["figures"] == ["a b"]
        figure = with_study.get("/figure/a%20b.svg")
        assert figure.content == (tmp_path / "figures" / "a b.svg").read_bytes()
        assert figure.headers["content-security-policy"] == "default-src 'none'"  # its script would not run
        assert with_study.get("/figure/..%2Fstudy.svg").status_code == 404
    with pytest.raises(UsageError):
        study_view(tmp_path / "figures")


TABS = {
    "faces": "faces in",
    "videos": "kept",
    "threshold": "redundant",
    "copies": "copies",
    "manifests": "no manifests",
}
"""Views of the page, and what each says once it is there."""


@pytest.fixture
def page(build: Build) -> Iterator[Browser]:
    """A headless Chromium on the page of `curate explore`."""
    with chromium() as browser:
        arguments = [sys.executable, "-m", "curate", "explore", str(build.path), "--port", "0", "--no-browser"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                browser.open(next(word for word in server.stdout.readline().split() if word.startswith("http://127")))
                yield browser
            finally:
                server.terminate()


def test_a_browser_clicks_through_it_by_mouse_and_keyboard(page: Browser) -> None:
    page.until("document.querySelectorAll('.tile').length === 30")
    assert page.until("document.querySelector('.tile img').complete")
    page.until("(document.querySelector('.tile').click(), true)")
    page.until("document.querySelector('dialog').open && document.querySelectorAll('dialog .tile').length === 10")
    key = "document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowRight', bubbles: true}))"
    page.until("(document.querySelector('dialog').close(), document.getElementById('tab-faces').focus(), true)")
    page.until(f"({key}, true)")
    page.until("document.activeElement.id === 'tab-videos' && document.querySelectorAll('.rows li').length === 10")
    text = page.until("document.querySelector('.rows li').textContent")
    assert "<script>" in text and HOSTILE[:20] in text  # as text, and nothing ran
    assert page.until("document.querySelectorAll('main script, main img').length === 0")
    page.until("(document.getElementById('tab-threshold').click(), true)")
    page.until("document.getElementById('said') && document.getElementById('said').textContent.includes('redundant')")
    assert page.until("document.querySelector('#filters').getClientRects().length === 0")  # they filter nothing here
    for tab, there in TABS.items():
        page.until(f"(document.getElementById('tab-{tab}').click(), true)")
        page.until(f"document.querySelector('main').textContent.includes('{there}')")
        for width, colours in SCREENS:
            page.show(width, colours)
            assert not faults(page, width), (tab, width, colours)
