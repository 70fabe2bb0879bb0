"""The app: routes, and what they share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, FastAPI, Query, WebSocket
from fastapi.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles

from ..play.checkpoint_cache import user_folder
from .films import film_of
from .guard import LOOPBACK, Guard
from .live import live
from .messages import NewSession, Policy, Problem, Run, State
from .problems import add_handlers
from .runs import Library, TrackedLibrary, seat
from .session import Table
from .sessions import Sessions
from .snapshot import state_of
from .workers import Workers

if TYPE_CHECKING:
    from holdfast.settings import Settings

STATIC = Path(__file__).with_name("static")
_PROBLEMS: dict[int | str, dict[str, object]] = {
    404: {"model": Problem},
    422: {"model": Problem},
    503: {"model": Problem},
}


@dataclass(frozen=True)
class Options:
    """How the app is served.

    Attributes:
        host: The address it listens on; on a loopback address only loopback names are answered.
        run: The run that the page has chosen at first.
        cors: Foreign origins that may use it; none by default.
        cache_mb: Room for fetched policies.
        cache_folder: Where they are kept; by default in the user's cache folder.
        sessions: How many there may be at once.
        idle_s: Seconds after which an unused one expires.
    """

    host: str = "127.0.0.1"
    run: str | None = None
    cors: tuple[str, ...] = ()
    cache_mb: int = 512
    cache_folder: Path | None = None
    sessions: int = 64
    idle_s: float = 1800.0


@dataclass
class _Shared:
    """What the routes share. Fetching has threads of its own: a slow tracking server stops no game."""

    library: Library
    sessions: Sessions
    play: Workers = field(default_factory=lambda: Workers("play", 2, 64))
    fetch: Workers = field(default_factory=lambda: Workers("fetch", 4, 32))
    film: Workers = field(default_factory=lambda: Workers("film", 1, 4))

    def close(self) -> None:
        for workers in (self.play, self.fetch, self.film):
            workers.close()


def create_app(settings: Settings | None, options: Options | None = None, library: Library | None = None) -> FastAPI:
    """Return the app. Nothing is fetched or asked before the first request.

    Args:
        settings: Where runs and policies are; not used where a library is given.
        options: How it is served.
        library: Replaces the tracking server, as in tests.
    """
    options = options or Options()
    if library is None:
        if settings is None:
            raise TypeError("create_app wants settings or a library")
        library = TrackedLibrary(settings, options.cache_folder or user_folder(), options.cache_mb * 2**20)
    shared = _Shared(library, Sessions(options.sessions, options.idle_s))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        shared.close()

    app = FastAPI(
        title="BasketWorld", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json", lifespan=lifespan
    )
    add_handlers(app)
    app.include_router(_runs(shared, options), prefix="/api", responses=_PROBLEMS)
    app.include_router(_sessions(shared), prefix="/api", responses=_PROBLEMS)
    app.get("/", include_in_schema=False)(_index)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    if options.cors:
        app.add_middleware(CORSMiddleware, allow_origins=list(options.cors), allow_methods=["*"], allow_headers=["*"])
    app.add_middleware(Guard, hosts=_hosts(options.host), origins=options.cors)
    return app


def _hosts(host: str) -> tuple[str, ...]:
    is_loopback = host in LOOPBACK or host.startswith("127.")
    return (*LOOPBACK, host) if is_loopback else ()


async def _index() -> FileResponse:
    return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})


def _runs(shared: _Shared, options: Options) -> APIRouter:
    router = APIRouter()

    @router.get("/start")
    async def start() -> dict[str, str | None]:
        """Tell the page which run to choose at first."""
        return {"run": options.run}

    @router.get("/runs")
    async def runs(
        search: Annotated[str, Query(max_length=200)] = "",
        experiment: Annotated[str | None, Query(max_length=200)] = None,
    ) -> list[Run]:
        """List the runs whose name or id holds the text, newest first."""
        return list(await shared.fetch.run(shared.library.runs, search, experiment))

    @router.get("/runs/{run}/policies")
    async def policies(run: str) -> list[Policy]:
        """List the policies of a run."""
        return list(await shared.fetch.run(shared.library.policies, run))

    return router


def _sessions(shared: _Shared) -> APIRouter:
    router = APIRouter()

    @router.post("/sessions", status_code=201)
    async def open_session(wanted: NewSession) -> State:
        """Open a table for two teams."""
        shared.sessions.check_room()
        players, rules = await shared.fetch.run(seat, shared.library, wanted)
        table = await shared.play.run(Table, rules, players, wanted.seed, wanted.deterministic)
        session = shared.sessions.add(table, wanted.run)
        async with session.turn:
            return await shared.play.run(state_of, session.id, session.run, table)

    @router.get("/sessions/{session_id}")
    async def show(session_id: str) -> State:
        """Tell how a session stands."""
        session = shared.sessions.get(session_id)
        async with session.turn:
            return await shared.play.run(state_of, session.id, session.run, session.table)

    @router.delete("/sessions/{session_id}", status_code=204)
    async def close(session_id: str) -> None:
        """Forget a session."""
        shared.sessions.close(session_id)

    @router.get("/sessions/{session_id}/film.gif", response_class=Response)
    async def film(session_id: str, fps: Annotated[int, Query(ge=1, le=20)] = 2) -> Response:
        """Draw the episode so far."""
        session = shared.sessions.get(session_id)
        async with session.turn:
            views, table = session.table.views(), session.table
            about = (table.rules, table.attacking, {team: one.name for team, one in table.teams.items()})
        content = await shared.film.run(film_of, views, *about, fps)
        name = f"basketworld-seed-{session.table.seed}.gif"
        return Response(
            content, media_type="image/gif", headers={"content-disposition": f'attachment; filename="{name}"'}
        )

    @router.websocket("/sessions/{session_id}/live")
    async def play(socket: WebSocket, session_id: str) -> None:
        await live(socket, session_id, shared.sessions, shared.play)

    return router
