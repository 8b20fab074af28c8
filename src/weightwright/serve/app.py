"""The server: what is offered, the routes, and how errors are answered."""

from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

import weightwright
from weightwright.errors import RemoteError, WeightwrightError
from weightwright.serve.guard import Guard
from weightwright.serve.offers import NoSuchModelError, Offers
from weightwright.serve.openai import router
from weightwright.serve.settings import ServeSettings
from weightwright.serve.shapes import error_body


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
    return app


def _invalid(_: Request, error: Any) -> JSONResponse:
    """A body that does not have the right shape: 400 with every problem named."""
    problems = []
    param = None
    for problem in error.errors():
        path = ".".join(str(part) for part in problem["loc"] if part != "body")
        param = param or path
        if problem["type"] == "extra_forbidden":
            problems.append(f"{path} is not supported")
        else:
            problems.append(f"{path}: {problem['msg']}" if path else problem["msg"])
    return JSONResponse(error_body("; ".join(problems), "invalid_request_error", param=param), 400)


def _failed(_: Request, error: Any) -> JSONResponse:
    if isinstance(error, NoSuchModelError):
        body = error_body(str(error), "invalid_request_error", "model_not_found", "model")
        return JSONResponse(body, 404)
    if isinstance(error, RemoteError):
        return JSONResponse(error_body(str(error), "server_error", "upstream_failed"), 502)
    return JSONResponse(error_body(str(error), "invalid_request_error"), 400)


def _http(_: Request, error: Any) -> JSONResponse:
    return JSONResponse(error_body(str(error.detail), "invalid_request_error"), error.status_code)
