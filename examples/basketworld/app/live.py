"""Live play: the page sends one order after the other, and is sent the state after each."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from holdfast.errors import HoldfastError, InvalidInputError

from .messages import ORDERS, Back, Clear, Control, GoTo, Next, State, Step
from .problems import problem_of
from .session import Table
from .sessions import Session, Sessions
from .snapshot import state_of
from .workers import Workers

REPLACED = 4409
"""Close code for a connection whose session was opened by a newer one."""
UNKNOWN = 4404
"""Close code where there is no such session."""


async def live(socket: WebSocket, session_id: str, sessions: Sessions, workers: Workers) -> None:
    """Serve one connection until it closes. The session outlives it, and can be taken up again."""
    await socket.accept()
    try:
        session = sessions.get(session_id)
    except HoldfastError as error:
        await socket.send_text(problem_of(error).model_dump_json())
        await socket.close(UNKNOWN)
        return
    session.generation += 1
    session.viewers += 1
    try:
        await _serve(socket, session, sessions, workers)
    except WebSocketDisconnect:
        pass
    finally:
        session.viewers -= 1


async def _serve(socket: WebSocket, session: Session, sessions: Sessions, workers: Workers) -> None:
    mine = session.generation
    await _answer(socket, session, workers, lambda: None)
    while True:
        text = await _text(socket)
        if session.generation != mine:
            await socket.close(REPLACED)
            return
        try:
            sessions.get(session.id)
        except HoldfastError as error:
            await socket.send_text(problem_of(error).model_dump_json())
            await socket.close(UNKNOWN)
            return
        await _answer(socket, session, workers, lambda text=text: obey(session.table, text))  # type: ignore[misc]


async def _text(socket: WebSocket) -> str:
    """Return the next message; one in bytes is empty, which is no order."""
    try:
        return await socket.receive_text() or ""
    except KeyError:
        return ""


async def _answer(socket: WebSocket, session: Session, workers: Workers, change: Callable[[], None]) -> None:
    def changed() -> State:
        change()
        return state_of(session.id, session.run, session.table)

    try:
        async with session.turn:
            told: str = (await workers.run(changed)).model_dump_json()
    except WebSocketDisconnect:
        raise
    except Exception as error:  # whatever it is, this connection goes on; problem_of logs what nobody foresaw
        told = problem_of(error).model_dump_json()
    await socket.send_text(told)


def obey(table: Table, text: str) -> None:
    """Do what one message orders.

    Raises:
        InvalidInputError: It is no order, or cannot be done now.
    """
    try:
        order = ORDERS.validate_json(text)
    except ValidationError as error:
        raise InvalidInputError(problem_of(error).error, "see messages.py for the orders") from None
    match order:
        case Step():
            table.step(order.orders)
        case Back():
            table.go_to(max(0, table.at - 1))
        case GoTo():
            table.go_to(order.at)
        case Next():
            table.next_episode(order.seed)
        case Control():
            table.control(order.team, order.human)
        case Clear():
            table.clear(order.seed)
