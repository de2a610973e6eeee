"""What goes wrong, as a status and one line: it tells no value of a row."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from ray.exceptions import RayError
from starlette.exceptions import HTTPException

from raclib.errors import PassingError, UserError
from raclib.run.cli import find_user_error
from raclib.serving.service.asked import OtherRowError, UnknownIdError

RETRY_AFTER_S = 1
logger = logging.getLogger(__name__)


def add_failures(app: FastAPI) -> None:
    """Makes an application answer mistakes, and what fails behind it, in one line."""

    @app.exception_handler(RequestValidationError)
    async def wrong_value(request: Request, error: RequestValidationError) -> JSONResponse:
        return refusal(422, first_mistake(error.errors()))

    @app.exception_handler(UserError)
    async def mistake(request: Request, error: UserError) -> JSONResponse:
        return refusal(status_of(error), str(error))

    @app.exception_handler(RayError)
    async def no_writer(request: Request, error: RayError) -> JSONResponse:
        found = find_user_error(error)
        logger.error("the writer failed: %s", found or type(error).__name__)
        return refusal(503, "rows cannot be taken in now; come again")

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        return refusal(error.status_code, str(error.detail))


def refusal(status: int, message: str) -> JSONResponse:
    """An answer of one line."""
    again = {"retry-after": str(RETRY_AFTER_S)} if status == 503 else None
    return JSONResponse({"detail": " ".join(message.split())}, status, again)


def status_of(error: UserError) -> int:
    """The status of a mistake."""
    for kind, status in ((UnknownIdError, 404), (OtherRowError, 409), (PassingError, 503)):
        if isinstance(error, kind):
            return status
    return 422


def first_mistake(errors: object) -> str:
    """The first of pydantic's errors, its place first; the value is not told."""
    assert isinstance(errors, list | tuple) and errors
    first = errors[0]
    place = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}: {first['msg'].removeprefix('Value error, ')}{more}"
