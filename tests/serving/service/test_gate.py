"""Who may come in, and for how long."""

import asyncio
import base64

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from raclib.errors import UserError
from raclib.serving.service.bearer import Token
from raclib.serving.service.config import LimitsConfig, ServeConfig
from raclib.serving.service.gate import Gate

SECRET = "0123456789abcdef-secret"


@pytest.fixture
def token(tmp_path):
    file = tmp_path / "token"
    file.write_text(f"{SECRET}\n")
    return Token(str(file))


def open_gate(token=None, seconds=60.0):
    app = FastAPI()

    @app.get("/v1/health")
    async def health() -> str:
        return "ok"

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(30)
        return "late"

    @app.get("/fast")
    async def fast() -> str:
        return "here"

    app.add_middleware(Gate, limits=LimitsConfig(seconds=seconds), token=token)
    return TestClient(app)


def test_a_token_is_asked_for(token):
    client = open_gate(token)
    basic = base64.b64encode(f"anybody:{SECRET}".encode()).decode()
    for header, status in (
        (None, 401),
        ("Bearer wrong", 401),
        (f"Bearer {SECRET}x", 401),
        (SECRET, 401),
        ("Basic !!", 401),
        ("Basic " + base64.b64encode(b"anybody:wrong").decode(), 401),
        (f"Bearer {SECRET}", 200),
        (f"bearer {SECRET}", 200),
        (f"Basic {basic}", 200),
    ):
        answer = client.get("/fast", headers={"authorization": header} if header else {})
        assert answer.status_code == status, header
        assert SECRET not in answer.text
    assert client.get("/v1/health").status_code == 200


def test_a_token_shows_itself_to_nobody(token, tmp_path):
    assert SECRET not in repr(token) + str(token)
    for content, line in (("short", "at least 16"), ("a" * 20 + " b", "one word")):
        file = tmp_path / "bad"
        file.write_text(content)
        with pytest.raises(UserError, match=line) as error:
            Token(str(file))
        assert content not in str(error.value)
    with pytest.raises(UserError, match=r"token_file: .*none: No such file"):
        Token(str(tmp_path / "none"))


def test_what_takes_too_long_is_given_up():
    answer = open_gate(seconds=0.1).get("/slow")
    assert answer.status_code == 504
    assert answer.json()["detail"].startswith("not done within 0.1 s")


def test_other_machines_need_a_token():
    for host in ("0.0.0.0", "10.1.2.3", "::", "example.org"):
        with pytest.raises(UserError, match=f"host: {host} can be reached from other machines"):
            ServeConfig(run="x", host=host)
        assert not ServeConfig(run="x", host=host, token_file="t").is_local
    for host in ("127.0.0.1", "localhost", "::1"):
        assert ServeConfig(run="x", host=host).is_local
