"""The server: what is offered, the routes, and how errors are answered."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

import weightwright
from weightwright.errors import EngineError, RemoteError, WeightwrightError
from weightwright.serve.guard import Guard
from weightwright.serve.offers import NoSuchModelError, Offers
from weightwright.serve.routes.openai import router
from weightwright.serve.settings import ServeSettings
from weightwright.wire.openai.replies import error_body

_SHOWN_CHARACTERS = 60  # of a wrong value


def create_app(offers: Offers, settings: ServeSettings) -> FastAPI:
    """The ASGI application; raises nothing, serves until it is stopped."""
    app = FastAPI(title="weightwright", version=weightwright.__version__)
    app.add_middleware(Guard, api_key=settings.api_key, max_waiting=settings.max_waiting)

    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    app.include_router(router(offers))
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(WeightwrightError, _failed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _broken)
    return app


def _invalid(_: Request, error: Any) -> JSONResponse:
    """A body that does not have the right shape: 400 with every problem named."""
    problems = error.errors()
    message = "; ".join(_said(problem) for problem in problems)
    param = next((path for problem in problems if (path := _path(problem))), None)
    return JSONResponse(error_body(message, "invalid_request_error", param=param), 400)


def _path(problem: dict[str, Any]) -> str:
    """The field, without pydantic's marks for keys and for the branches of a union."""
    return ".".join(str(part) for part in problem["loc"] if part != "body" and "[" not in str(part))


def _said(problem: dict[str, Any]) -> str:
    """One problem with its field, its limit and its value."""
    path, message = _path(problem), problem["msg"].removeprefix("Value error, ")
    match problem["type"]:
        case "json_invalid":
            return f"the body is not JSON: {problem['ctx']['error']} at character {path}"
        case "extra_forbidden" | "unexpected_keyword_argument":
            return f"{path} is not supported; check its name or leave it out"
        case "value_error":  # our own words, which name the field
            return str(message)
        case "model_attributes_type" if not path:
            return "the body is not a JSON object; send one, with Content-Type: application/json"
        case "missing":
            return f"{path or 'the body'}: {message}"
    given = problem["input"]
    shown = repr(given if len(str(given)) <= _SHOWN_CHARACTERS else f"{str(given)[:_SHOWN_CHARACTERS]}…")
    return f"{path}: {message} (got {shown})" if path else f"{message} (got {shown})"


def _failed(_: Request, error: Any) -> JSONResponse:
    if isinstance(error, NoSuchModelError):
        body = error_body(str(error), "invalid_request_error", "model_not_found", "model")
        return JSONResponse(body, 404)
    if isinstance(error, RemoteError):
        return JSONResponse(error_body(str(error), "server_error", "upstream_failed"), 502)
    if isinstance(error, EngineError):
        return JSONResponse(error_body(str(error), "server_error"), 500)
    return JSONResponse(error_body(str(error), "invalid_request_error"), 400)


def _http(_: Request, error: Any) -> JSONResponse:
    return JSONResponse(error_body(str(error.detail), "invalid_request_error"), error.status_code)


def _broken(_: Request, error: Any) -> JSONResponse:
    """A fault of ours: the client gets the shape it knows, the log gets the traceback."""
    return JSONResponse(
        error_body(f"the server failed ({type(error).__name__}); its log says more", "server_error"), 500
    )
