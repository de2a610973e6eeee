"""What answers HTTP: paths, and what each may say."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse
from ray import serve
from starlette.middleware.trustedhost import TrustedHostMiddleware

from raclib.serving.service import api, messages
from raclib.serving.service.bearer import Token
from raclib.serving.service.failures import add_failures
from raclib.serving.service.gate import HEALTH, Gate
from raclib.serving.service.page import Page
from raclib.serving.service.replica import Replica

LOCAL_HOSTS = ["localhost", "127.0.0.1", "[::1]"]
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'"
}
REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": messages.Refusal, "description": description}
    for status, description in (
        (400, "The body is not JSON, or the host is another."),
        (401, "The token is missing or wrong."),
        (404, "Nothing is known under the id."),
        (409, "Another row is known under the id."),
        (413, "The body is too long."),
        (422, "A value is wrong: it is named."),
        (503, "Full, or the storage does not answer: come again."),
        (504, "It took too long."),
    )
}


def build_app(replica: Replica) -> FastAPI:
    """The application of a replica."""
    config, reader = replica.config, replica.predictor.reader
    app = FastAPI(title="raclib", version="1", docs_url=None, redoc_url=None, responses=REFUSALS)
    token = Token(config.token_file) if config.token_file else None
    app.add_middleware(Gate, limits=config.limits, token=token)
    if config.is_local:
        # A page of the web must not come in by a name that leads here.
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOCAL_HOSTS)
    add_failures(app)
    predict_request, rows_request, label_request = messages.request_types(reader)
    page = Page(replica, predict_request)

    @app.get(HEALTH)
    async def health() -> messages.Health:
        """Answers when a replica holds its keys."""
        corpus, name = replica.predictor.corpus, serve.get_replica_context().replica_id.unique_id
        said = {"status": "ok", "replica": name}
        return messages.Health(**said, corpus_version=corpus.version, rows=len(corpus))

    @app.post("/v1/predict")
    async def predict(asked: predict_request) -> messages.PredictAnswer:  # type: ignore[valid-type]
        """Class probabilities of rows, and the past rows that decided them."""
        return await api.predict(replica, asked)

    @app.post("/v1/rows")
    async def rows(asked: rows_request) -> messages.RowsAnswer:  # type: ignore[valid-type]
        """Takes in labelled rows: when it answers, they are in the corpus."""
        return await api.add_rows(replica, asked)

    @app.post("/v1/labels")
    async def labels(asked: label_request) -> messages.LabelAnswer:  # type: ignore[valid-type]
        """Labels a row that is known by its id; a second label corrects the first from then on."""
        return await api.label(replica, asked)

    @app.get("/v1/quality")
    async def quality() -> messages.QualityAnswer:
        """How served answers did on the labels that came since, beside simple lines."""
        return await api.quality(replica)

    @app.get("/", include_in_schema=False)
    async def look() -> HTMLResponse:
        return HTMLResponse(await page.show(), headers=PAGE_HEADERS)

    @app.post("/", include_in_schema=False)
    async def answer(request: Request) -> HTMLResponse:
        return HTMLResponse(await page.answer(await request.body()), headers=PAGE_HEADERS)

    return app
