"""A real server on a free port, in a thread of the test process."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import uvicorn

from weightwright.ports import Chat
from weightwright.serve.app import create_app
from weightwright.serve.offers import Offer, Offers
from weightwright.serve.settings import ServeSettings

Serve = Callable[..., str]


@pytest.fixture(scope="module")
def serving() -> Iterator[Serve]:
    """`serving(offers, **settings)` starts a server and gives its address."""
    with ExitStack() as stack:

        def start(offers: list[Offer], **settings: object) -> str:
            app = create_app(Offers(offers), ServeSettings(model="x", **settings))
            listening = socket.create_server(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()

            def stop() -> None:
                server.should_exit = True
                thread.join()
                listening.close()

            stack.callback(stop)
            return f"http://127.0.0.1:{listening.getsockname()[1]}"

        yield start


@pytest.fixture(scope="module")
def engine(tiny_model) -> Iterator[Chat]:
    from weightwright.engine.engine import Engine
    from weightwright.weights.load import load

    opened = Engine(load(str(tiny_model), precision="f32"))
    yield opened
    opened.close()
