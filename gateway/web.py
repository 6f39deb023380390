"""The web application: the JSON API, the pages, and what stands before and behind them."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path
from typing import Final

import plotly
import sqlalchemy.exc
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from alerts.alert import IllegalAct, Text
from alerts.database import hurried
from alerts.rule import LimitsError
from gateway import (
    answers,
    api,
    audit_api,
    care_api,
    contact_api,
    education_page,
    follow_up_pages,
    message_page,
    metrics,
    pages,
    quality_api,
    quality_page,
    review_api,
    survey_page,
    team_api,
    team_pages,
)
from gateway.forms import flaws_located, flaws_told
from gateway.guard import Guard, WebSettings, problem
from gateway.language import Sentence
from gateway.openapi import Described
from gateway.people import AlreadyKnown, UnknownPerson
from gateway.view import HouseView, NotReadable, NotWaiting, StoreAway, UnknownLetter
from gateway.words import N_

logger = logging.getLogger(__name__)

_STATIC: Final = Path(__file__).parent / "static"
_PLOTLY: Final = Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
_OF_THE_FRAMEWORK: Final = {N_("Not Found"), N_("Method Not Allowed"), N_("There was an error parsing the body")}
_STATUS: Final[dict[type[Exception], int]] = {
    LimitsError: 422,
    UnknownPerson: 404,
    AlreadyKnown: 409,
    IllegalAct: 409,
    NotReadable: 409,
    NotWaiting: 409,
    UnknownLetter: 404,
    StoreAway: 503,
}


def create_app(house: HouseView, settings: WebSettings) -> FastAPI:
    """Everything that Homeward answers over HTTP.

    Close `house.bulletin` before the server stops: open event streams would hold it up.
    """
    app = Described(
        title="Homeward",
        version="1",
        summary="Patients' home readings, the alerts they raise, and what people do about them.",
        description=api.__doc__ or "",
        openapi_url="/api/v1/openapi.json",
        # The interactive documentation loads its script from elsewhere; Homeward works without the internet.
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(_without_nul), Depends(_known_query)],
    )
    app.state.house = house
    app.state.settings = settings
    app.state.desk = pages.Desk()
    app.add_middleware(_Hurry)
    app.add_middleware(Guard, settings=settings)
    app.include_router(api.router)
    app.include_router(review_api.router)
    app.include_router(audit_api.router)
    app.include_router(care_api.router)
    app.include_router(team_api.router)
    app.include_router(contact_api.router)
    app.include_router(answers.router)
    app.include_router(survey_page.router)
    app.include_router(message_page.router)
    app.include_router(education_page.router)
    app.include_router(quality_api.router)
    for each in (pages, follow_up_pages, team_pages, quality_page):
        app.include_router(each.router)
    app.state.page_routes = [route for each in (pages, follow_up_pages, team_pages) for route in each.router.routes]
    app.add_api_route("/static/plotly.min.js", _plotly_script, include_in_schema=False)
    app.add_api_route("/metrics", _metrics, include_in_schema=False)
    app.mount("/static", StaticFiles(directory=_STATIC))
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    for kind in _STATUS:
        app.add_exception_handler(kind, _on_known)
    for kind in (sqlite3.OperationalError, sqlalchemy.exc.OperationalError):
        app.add_exception_handler(kind, _on_store)
    return app


async def _without_nul(request: Request) -> None:
    """No store takes a NUL in a text: nothing has such a name, and a query is refused like a body (`api.Door`)."""
    if "\0" in request.url.path:
        raise HTTPException(404)
    if any("\0" in each for pair in request.query_params.multi_items() for each in pair):
        raise HTTPException(422, api.NO_NUL)


async def _known_query(request: Request) -> None:
    """A program whose filter is called otherwise here is told so, and not answered with everything."""
    route = request.scope["route"]
    if not (request.query_params and _for_programs(request) and isinstance(route, APIRoute)):
        return
    known = [each.alias for each in route.dependant.query_params]
    if unknown := [name for name in request.query_params if name not in known]:
        names = {"unknown": ", ".join(unknown), "known": ", ".join(known)}
        said = (
            Sentence("there is no query parameter {unknown} here; there is {known}", **names)
            if known
            else Sentence("there is no query parameter {unknown} here, and no other", **names)
        )
        raise HTTPException(422, said)


class _Hurry:
    """The ASGI middleware by which nobody waits long for a file that another program holds."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with hurried():
            await self._app(scope, receive, send)


def _plotly_script() -> Response:
    return FileResponse(_PLOTLY, media_type="text/javascript")


async def _metrics(request: Request) -> Response:
    house: HouseView = request.app.state.house
    return Response(await house.metrics(), media_type=metrics.MEDIA_TYPE)


async def _on_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it alone
    said = Sentence(error.detail) if error.detail in _OF_THE_FRAMEWORK else error.detail
    return _refuse(request, error.status_code, said)


async def _on_known(request: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUS.items() if isinstance(error, kind))
    said = error.text if isinstance(error, LimitsError | IllegalAct) else error.args[0] if error.args else ""
    return _refuse(request, status, said)


async def _on_store(request: Request, error: Exception) -> Response:
    """A store is full, locked or away. It takes nothing by halves: what was to be written is not."""
    because = getattr(error, "orig", None) or error
    logger.error("%s %s: %s", request.method, request.url.path, because)
    reads = request.method in {"GET", "HEAD"}
    failed = Sentence("this could not be read") if reads else Sentence("this could not be written down")
    said = Sentence(
        "{failed}: {because}; make room on the disk, or end what holds the file, and try again",
        failed=failed,
        because=because,
    )
    return _refuse(request, 503, said)


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for it alone
    flaws = error.errors()
    told = flaws_located(flaws, request.url.path) if _for_programs(request) else flaws_told(flaws)
    return _refuse(request, 422, told)


def _refuse(request: Request, status: int, said: str | Text) -> Response:
    if not _for_programs(request):
        return pages.show_refusal(request, status, said)
    language = request.app.state.desk.language(request)
    # What is quoted in it came from outside: half of a surrogate pair is no text that can be sent.
    refusal = problem(status, language.sentence(said).encode(errors="replace").decode())
    refusal.headers.update({"Content-Language": language.html, "Vary": "Accept-Language, Cookie"})
    return refusal


def _for_programs(request: Request) -> bool:
    return request.url.path.startswith("/api/")
