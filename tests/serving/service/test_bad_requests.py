"""What is wrong with a request is said in one line that names it, and tells no value of a row."""

import json
import socket

import pytest
import requests

SECRET = "very private"


@pytest.fixture(scope="module")
def row(make_table, to_rows):
    return {**to_rows(make_table(3000, 1, seed=21))[0], "words": SECRET}


@pytest.fixture(scope="module")
def labelled(make_table, to_rows):
    return to_rows(make_table(3000, 1, seed=21), with_label=True)[0]


def without(row, name):
    return {key: value for key, value in row.items() if key != name}


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"kind": ...}, "rows.0.kind: Field required"),
        ({"a": "1"}, "rows.0.a: give a number"),
        ({"a": float("nan")}, "rows.0.a: Input should be a finite number"),
        ({"a": float("inf")}, "rows.0.a: Input should be a finite number"),
        ({"shop_id": 1.5}, "rows.0.shop_id: give a whole number"),
        ({"shop_id": 2**70}, "rows.0.shop_id: Input should be less than or equal to"),
        ({"kind": 3}, "rows.0.kind: Input should be a valid string"),
        ({"happened": 3}, "rows.0.happened: give it as ISO text"),
        ({"happened": None}, "rows.0.happened: "),
        ({"happened": "yesterday"}, "rows.0.happened: Input should be a valid datetime"),
        ({"place": [1.0]}, "place"),
    ],
)
def test_a_wrong_row_is_named(served, row, change, line):
    changed = {**row, **change}
    changed = {key: value for key, value in changed.items() if value is not ...}
    answer = requests.post(
        f"{served.address}/v1/predict",
        data=json.dumps({"rows": [changed]}),
        headers={"content-type": "application/json"},
        timeout=60,
    )
    assert answer.status_code == 422, answer.text
    said = answer.json()["detail"]
    assert line in said and "\n" not in said and SECRET not in answer.text


@pytest.mark.parametrize(
    ("body", "status", "line"),
    [
        ({"evidence": 99}, 422, "evidence: 99; at most 10"),
        ({"evidence": -1}, 422, "evidence: Input should be greater than or equal to 0"),
        ({"ids": ["x"]}, 422, "ids: are for rows to remember"),
        ({"ids": ["x", "y"], "remember": True}, 422, "ids: 2 for 1 rows"),
        ({"more": 1}, 422, "more: Extra inputs are not permitted"),
        ({"rows": []}, 422, "rows: List should have at least 1 item"),
    ],
)
def test_a_wrong_request_is_named(served, row, body, status, line):
    answer = served.post("/v1/predict", {"rows": [row], **body})
    assert answer.status_code == status
    assert line in answer.json()["detail"]


def test_too_many_rows_are_refused(served, row):
    answer = served.post("/v1/predict", {"rows": [row] * 201})
    assert (answer.status_code, answer.json()["detail"][:24]) == (422, "rows: 201; at most 200 a")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"answer": "perhaps"}, "'perhaps' is none of the 2 known classes"),
        ({"answer": None}, "rows.0.answer: "),
        ({"answer": ""}, "row 0: no label"),
        ({"known": "2019-01-01"}, "rows.0.known: is before the row's own time"),
        ({"known": "2100-01-01"}, "rows.0.known: is in the future"),
        ({"happened": "2100-01-01", "known": None}, "rows.0.known: is before the row's own time"),
        ({"place": [1.0]}, "place"),
    ],
)
def test_a_wrong_labelled_row_is_named(served, labelled, change, line):
    version = served.get("/v1/health").json()["corpus_version"]
    answer = served.post("/v1/rows", {"rows": [labelled, {**labelled, **change}]})
    assert answer.status_code == 422, answer.text
    assert line.replace("0.", "1.").replace("row 0", "row 1") in answer.json()["detail"]
    assert served.get("/v1/health").json()["corpus_version"] == version


def test_a_wrong_label_is_named(served, row):
    served.ask("/v1/predict", rows=[row], remember=True, ids=["kept"])
    for label, status, line in (
        ({"id": "none", "label": "yes"}, 404, "id 'none': nothing is known under it"),
        ({"id": "kept", "label": "perhaps"}, 422, "'perhaps' is none of the 2 known classes"),
        ({"id": "kept", "label": "yes", "label_time": "2019-01-01"}, 422, "before the row's own"),
        ({"id": "kept", "label": "yes", "label_time": "2100-01-01"}, 422, "in the future"),
        ({"id": "kept", "label": "yes", "label_time": "soon"}, 422, "label_time: Input should be"),
        ({"label": "yes"}, 422, "id: Field required"),
    ):
        answer = served.post("/v1/labels", label)
        assert answer.status_code == status, answer.text
        assert line in answer.json()["detail"]
    other = served.post(
        "/v1/predict", {"rows": [{**row, "a": 5}], "remember": True, "ids": ["kept"]}
    )
    assert other.status_code == 409


def test_a_body_that_is_too_long_is_refused_unread(served):
    host, port = served.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as line:
        head = f"POST /v1/predict HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        line.sendall(f"{head}content-length: {100 * 2**20}\r\n\r\n{{".encode())
        said = line.recv(4096).decode()
    assert " 413 " in said.splitlines()[0]


def test_a_body_of_unsaid_length_is_counted(served):
    def pieces():
        for _ in range(40):
            yield b" " * 2**16

    try:
        answer = requests.post(
            f"{served.address}/v1/predict",
            data=pieces(),
            headers={"content-type": "application/json"},
            timeout=60,
        )
    except requests.ConnectionError:
        return  # closed while it was sent
    assert answer.status_code == 413


def test_what_is_no_json_or_from_another_name_is_refused(served):
    url, json_type = f"{served.address}/v1/predict", {"content-type": "application/json"}
    for body in (b"{", b"[" * 100_000, b"\xff\xfe", b'"x"', b""):
        answer = requests.post(url, data=body, headers=json_type, timeout=60)
        assert answer.status_code in (400, 422), answer.text
    foreign = requests.get(
        f"{served.address}/v1/health", headers={"host": "evil.example"}, timeout=60
    )
    assert foreign.status_code == 400
    assert served.get("/v1/other").status_code == 404
