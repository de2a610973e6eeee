"""How fast a service answers while requests come at times of their own, over HTTP alone."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

from raclib.corpus import Corpus, CorpusWriter, open_corpus
from raclib.corpus.manifest import TIME

PIECE_ROWS = 100_000
TIMEOUT = ClientTimeout(total=60)


@dataclass(frozen=True)
class Offered:
    """What came of requests that were due at given times.

    Attributes:
        seconds_R: From when a request was due until it was answered; infinite where it was not.
        span_s: From the first until the last answer.
    """

    seconds_R: np.ndarray
    span_s: float

    @property
    def num_answered(self) -> int:
        """Requests that were answered as they should be."""
        return int(np.isfinite(self.seconds_R).sum())

    @property
    def per_s(self) -> float:
        """Requests answered a second."""
        return self.num_answered / self.span_s

    def ms(self, share: float) -> float:
        """Milliseconds within which this share was answered."""
        return float(np.quantile(self.seconds_R, share, method="higher")) * 1e3


class Load:
    """Requests of one path; their bodies come in turn.

    Args:
        address: Of the service.
        path: Such as `/v1/predict`.
        bodies: JSON.
    """

    def __init__(self, address: str, path: str, bodies: Sequence[bytes]) -> None:
        self._url, self._bodies = f"{address}{path}", bodies

    async def offer(self, rate: float, seconds: float) -> Offered:
        """Sends so many a second, however long answers take."""
        async with _session() as session:
            begin = time.perf_counter()
            due_R = begin + np.arange(round(rate * seconds)) / rate
            found = await asyncio.gather(
                *(self._send_at(session, place, due) for place, due in enumerate(due_R))
            )
            return Offered(np.array(found), time.perf_counter() - begin)

    async def ask_steadily(self, at_once: int, seconds: float) -> Offered:
        """Sends the next one of so many as soon as one is answered."""
        found: list[float] = []
        begin = time.perf_counter()

        async def ask(session: ClientSession) -> None:
            while (now := time.perf_counter()) < begin + seconds:
                found.append(await self._send_at(session, len(found), now))

        async with _session() as session:
            await asyncio.gather(*(ask(session) for _ in range(at_once)))
        return Offered(np.array(found), time.perf_counter() - begin)

    async def _send_at(self, session: ClientSession, place: int, due: float) -> float:
        await asyncio.sleep(due - time.perf_counter())
        body = self._bodies[place % len(self._bodies)]
        try:
            async with session.post(self._url, data=body) as answer:
                await answer.read()
                is_right = answer.status == 200
        except (ClientError, TimeoutError):
            is_right = False
        return time.perf_counter() - due if is_right else np.inf


def _session() -> ClientSession:
    headers = {"content-type": "application/json"}
    return ClientSession(headers=headers, timeout=TIMEOUT, connector=TCPConnector(limit=0))


def bodies(
    table: Path,
    size: int,
    time_ms: int,
    inputs: Sequence[str] | None = None,
    **options: Any,
) -> list[bytes]:
    """Requests with the rows of a table, `size` in each.

    Args:
        table: A Parquet file that `bench.ingest.write_table` wrote.
        size: Rows of a request.
        time_ms: When all of them happened, and their labels were known, ms since 1970.
        inputs: Columns that a request has; None for all.
        options: What a request says beside its rows.
    """
    rows = pq.read_table(table, columns=inputs and list(inputs)).to_pandas()
    for name in rows.columns.intersection(["time", "label_time"]):
        rows[name] = np.datetime64(time_ms, "ms")
    said: list[Any] = json.loads(rows.to_json(orient="records", date_format="iso"))
    starts = range(0, len(said) - size + 1, size)
    return [
        json.dumps({"rows": said[start : start + size], **options}).encode() for start in starts
    ]


def enlarge(corpus: Corpus, num_rows: int) -> Corpus:
    """Appends rows like those that a corpus has, later ones, until it has so many."""
    rng, held = np.random.default_rng(0), {name: corpus.read(name) for name in corpus.fields}
    assert corpus.time_range is not None
    with CorpusWriter(
        corpus.uri, corpus.fields, PIECE_ROWS, mode="append", provenance=corpus.provenance
    ) as writer:
        for start in range(len(corpus), num_rows, PIECE_ROWS):
            size = min(PIECE_ROWS, num_rows - start)
            like = rng.integers(0, len(corpus), size)
            known = corpus.time_range[1] + start + np.arange(size)
            writer.write({name: array[like] for name, array in held.items()} | {TIME: known})
    return open_corpus(corpus.uri)
