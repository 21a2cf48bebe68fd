"""The web application: a page and its questions, read-only, for requests to this machine alone."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from curate.errors import UsageError
from curate.explore.study import StudyView
from curate.explore.tables import BuildTables, FaceFilter

STATIC = Path(__file__).parent / "static"
HOSTS = ["127.0.0.1", "localhost", "[::1]"]
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def application(tables: BuildTables, study: StudyView | None = None) -> Starlette:
    """The application over one build, and a study of it; it answers GET alone, and no host name but this machine's."""
    ask = Questions(tables, study)
    routes = [
        Route("/api/summary", ask.answer(ask.summary)),
        Route("/api/clusters", ask.answer(ask.clusters)),
        Route("/api/cluster", ask.answer(ask.cluster)),
        Route("/api/videos", ask.answer(ask.videos)),
        Route("/api/video", ask.answer(ask.video)),
        Route("/api/threshold", ask.answer(ask.threshold)),
        Route("/api/copies", ask.answer(lambda _: tables.copies())),
        Route("/api/manifests", ask.answer(ask.manifests)),
        Route("/api/study", ask.answer(ask.study)),
        Route("/face/{row:int}.jpg", ask.face),
        Route("/figure/{name:str}.svg", ask.figure),
        Mount("/", StaticFiles(directory=STATIC, html=True)),
    ]
    guards = [Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS), Middleware(BaseHTTPMiddleware, dispatch=_guarded)]
    return Starlette(routes=routes, middleware=guards)


async def _guarded(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


class Questions:
    """The answers to the page's questions; what cannot be answered is a line of text with status 400."""

    def __init__(self, tables: BuildTables, study: StudyView | None = None) -> None:
        self.tables = tables
        self._study = study

    def answer(self, work: Callable[[Request], Any]) -> Callable[[Request], Response]:
        """An endpoint, worked on in a thread."""

        def endpoint(request: Request) -> Response:
            try:
                return JSONResponse(_plain(work(request)))
            except (UsageError, ValueError, KeyError) as error:
                return JSONResponse({"error": str(error)}, status_code=400)

        return endpoint

    def summary(self, _: Request) -> dict[str, Any]:
        """Counts, the curve, spaces and manifests."""
        build = self.tables.build
        counts = build.info.counts
        return {
            "name": build.path.resolve().name, "faces": counts.faces, "videos": counts.videos,
            "kept": counts.clusters["appearance"], "people": counts.clusters.get("identity"),
            "threshold": build.info.spaces["appearance"].threshold, "curve": build.redundancy()["curve"],
            "manifests": [entry["name"] for entry in build.manifests], "copies": counts.duplicate,
            "study": self._study.name if self._study else None,
        }  # fmt: skip

    def clusters(self, request: Request) -> dict[str, Any]:
        """See `BuildTables.clusters`."""
        asked = request.query_params
        person = asked.get("person", "")
        chosen = FaceFilter(
            asked.get("source", ""),
            int(person) if person else None,
            _number(asked.get("quality", ""), 0.0),
            _number(asked.get("yaw", ""), 180.0),
            _number(asked.get("pitch", ""), 180.0),
        )
        return self.tables.clusters(chosen, int(asked.get("offset", "0")), int(asked.get("limit", "60")))

    def cluster(self, request: Request) -> list[dict[str, Any]]:
        """See `BuildTables.members`."""
        return self.tables.members(int(request.query_params["id"]))

    def videos(self, request: Request) -> list[dict[str, Any]]:
        """See `BuildTables.videos`."""
        asked = request.query_params
        return self.tables.videos(asked.get("source", ""), int(asked.get("offset", "0")), int(asked.get("limit", "60")))

    def video(self, request: Request) -> list[dict[str, Any]]:
        """See `BuildTables.video`."""
        return self.tables.video(request.query_params["id"])

    def threshold(self, request: Request) -> dict[str, Any]:
        """See `BuildTables.at_threshold`."""
        return self.tables.at_threshold(float(request.query_params["t"]))

    def manifests(self, request: Request) -> dict[str, Any]:
        """See `BuildTables.two_manifests`."""
        return self.tables.two_manifests(request.query_params["a"], request.query_params["b"])

    def study(self, _: Request) -> dict[str, Any]:
        """The verdict of the study, and the names of its figures."""
        if self._study is None:
            raise UsageError("no study is open; curate explore BUILD --study STUDY opens one")
        shown = self._study
        return {"headline": shown.headline, "sentences": shown.sentences, "figures": list(shown.figures)}

    def figure(self, request: Request) -> Response:
        """A figure of the study."""
        data = self._study.figures.get(str(request.path_params["name"])) if self._study else None
        if data is None:
            return JSONResponse({"error": "there is no such figure"}, status_code=404)
        return Response(data, media_type="image/svg+xml", headers={"Content-Security-Policy": "default-src 'none'"})

    def face(self, request: Request) -> Response:
        """The picture of a face."""
        try:
            data = self.tables.picture(int(request.path_params["row"]))
        except UsageError as error:
            return JSONResponse({"error": str(error)}, status_code=404)
        return Response(data, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})


def _number(text: str, otherwise: float) -> float:
    return float(text) if text else otherwise


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    if isinstance(value, dict):
        return {key: _plain(own) for key, own in value.items()}
    if isinstance(value, list):
        return [_plain(own) for own in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
