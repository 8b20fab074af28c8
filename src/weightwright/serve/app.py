"""The server: what is offered, the routes, and how errors are answered."""

from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

import weightwright
from weightwright.errors import WeightwrightError
from weightwright.serve.events import CLIENT_GONE
from weightwright.serve.guard import Guard
from weightwright.serve.offers import Offers
from weightwright.serve.routes.openai import router
from weightwright.serve.settings import ServeSettings
from weightwright.wire import protocol_of
from weightwright.wire.protocol import Failure, failure_of


def create_app(offers: Offers, settings: ServeSettings) -> FastAPI:
    """The ASGI application; raises nothing, serves until it is stopped."""
    app = FastAPI(title="weightwright", version=weightwright.__version__)
    app.add_middleware(Guard, api_key=settings.api_key, max_waiting=settings.max_waiting)

    @app.head("/health", include_in_schema=False)
    @app.get("/health")
    def health() -> dict[str, str]:
        return {"status": "ok"}

    app.include_router(router(offers))
    app.add_exception_handler(WeightwrightError, _failed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=CLIENT_GONE))
    app.add_exception_handler(Exception, _broken)
    return app


def _failed(request: Request, error: Any) -> JSONResponse:
    return _answer(request, failure_of(error))


def _http(request: Request, error: Any) -> JSONResponse:
    return _answer(request, Failure(error.status_code, str(error.detail)))


def _broken(request: Request, error: Any) -> JSONResponse:
    """A fault of ours: the client gets the shape it knows, the log gets the traceback."""
    return _answer(request, Failure(500, f"the server failed ({type(error).__name__}); its log says more"))


def _answer(request: Request, failure: Failure) -> JSONResponse:
    """The failure in the shape of the path's protocol."""
    return JSONResponse(protocol_of(request.url.path).write_error(failure), failure.status)
