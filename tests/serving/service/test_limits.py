"""A service that takes one request at a time, from who brings a token."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import requests

from raclib.serving.service.config import LimitsConfig

SECRET = "0123456789abcdef-secret"


@pytest.fixture(scope="module")
def small(served, tmp_path_factory):
    """The address of a second application beside the first."""
    from ray import serve

    from raclib.serving.service.launch import build

    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(SECRET)
    limits = LimitsConfig(ongoing=1, queued=1)
    config = replace(served.config, token_file=str(file), limits=limits, replicas=1)
    serve.run(build(config), name="small", route_prefix="/small")
    yield f"{served.address}/small"
    serve.delete("small")


def test_who_brings_no_token_is_refused(small):
    for header in ({}, {"authorization": "Bearer wrong"}):
        for path in ("/", "/v1/quality", "/openapi.json", "/v1/none"):
            answer = requests.get(f"{small}{path}", headers=header, timeout=60)
            assert answer.status_code == 401
            assert answer.json() == {"detail": "the token is missing or wrong"}
    assert requests.get(f"{small}/v1/health", timeout=60).status_code == 200


def test_when_it_is_full_the_rest_is_told_to_come_back(small, make_table, to_rows):
    body = {"rows": to_rows(make_table(3000, 200, seed=41))}
    token = {"authorization": f"Bearer {SECRET}"}

    def ask(_: int) -> requests.Response:
        return requests.post(f"{small}/v1/predict", json=body, headers=token, timeout=60)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(32)))
    full = [answer for answer in answers if answer.status_code == 503]
    assert {answer.status_code for answer in answers} == {200, 503}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in full)
    assert SECRET not in "".join(answer.text for answer in answers)
