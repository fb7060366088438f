"""Annotation: questions from files, sessions, the page over HTTP, and the command."""

import http.client
import json
import threading
from urllib.parse import urlsplit

import pytest
import torch
from click.testing import CliRunner

from glasshouse.alignment.annotation import Annotation, AnnotationError
from glasshouse.alignment.annotation_page import MAX_BODY, AnnotationServer
from glasshouse.alignment.exploration import Rule
from glasshouse.alignment.ledger import Ledger
from glasshouse.alignment.questions import Question, QuestionError, Responses, choose_pairs, read_questions
from glasshouse.cli import cli

PAIRS = [
    Question(
        f"q{n}", f"prompt {n}", f"first {n}", f"second {n}", "infomax", 1, {"variance": 0.04, "first_preferred": 0.3}
    )
    for n in range(6)
]


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def session(tmp_path, name="ann", seed=0):
    return Annotation(PAIRS, Ledger(tmp_path / "ledger.jsonl"), name, seed=seed)


# -- questions -------------------------------------------------------------------------------------------------------


def test_pairs_and_several_responses_are_read(tmp_path):
    why = {"variance": 0.1}
    messages = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "hi"}]
    rows = [
        {"prompt": "a", "first": "x", "second": "y", "rule": "double_ts", "seed": 3, "why": why, "prompt_id": "one"},
        {"prompt": messages, "responses": ["x", "y", "z"]},
    ]
    pair, several = read_questions(written(tmp_path / "q.jsonl", rows))
    assert pair == Question("one", "a", "x", "y", "double_ts", 3, why)
    assert isinstance(several, Responses)
    assert several.prompt == "system: be kind\n\nuser: hi"
    assert len(several.prompt_id) == 16


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "line 2: unexpected end of data"),
        ("[1]", "line 2: a row is a JSON object, got a list"),
        ('{"prompt": "a", "first": "x"}', "needs first and second, or two or more responses"),
        ('{"prompt": "a", "responses": ["x"]}', "needs first and second, or two or more responses"),
        ('{"prompt": "a", "responses": ["x", "x"]}', "two of the responses are the same"),
        ('{"prompt": " ", "first": "x", "second": "y"}', "the prompt is empty"),
        ('{"first": "x", "second": "y"}', "messages are a list of"),
        ('{"prompt": "a", "first": "x", "second": "y", "prompt_id": 3}', "prompt_id is a text, got 3"),
        ('{"prompt": "a", "first": "x", "second": "y", "why": {"p": "high"}}', "why an object of finite numbers"),
        ('{"prompt": "a", "first": "x", "second": "y", "prompt_id": "same"}', "two rows have the same prompt_id"),
        ('{"prompt": "' + "a" * (1 << 20) + '"}', "the limit is 1048576"),
    ],
)
def test_rows_that_cannot_be_asked_are_told_with_their_line(tmp_path, row, message):
    good = '{"prompt": "b", "first": "x", "second": "y", "prompt_id": "same"}'
    (tmp_path / "q.jsonl").write_text(f"{good}\n{row}\n")
    with pytest.raises(QuestionError, match=message) as told:
        read_questions(tmp_path / "q.jsonl")
    assert str(tmp_path / "q.jsonl") in str(told.value)


def test_a_rule_chooses_among_responses_by_the_rewards(tmp_path):
    rows = [Responses("r", "a", (), ("low", "torn", "high"))]

    def judge(conversations):
        level = {"low": [-9.0, -9.0], "torn": [4.0, -4.0], "high": [0.0, 0.0]}
        return torch.tensor([level[messages[-1].content] for messages in conversations]).T

    chosen = choose_pairs(rows, Rule(name="infomax", particles=2), judge=judge)[0]
    assert {chosen.first, chosen.second} == {"torn", "high"}
    assert chosen.why["variance"] == pytest.approx(torch.sigmoid(torch.tensor([4.0, -4.0])).var().item(), rel=1e-5)
    assert "disagree about most" in chosen.asked_because
    with pytest.raises(QuestionError, match="give a reward model, or take the rule passive"):
        choose_pairs(rows, Rule(name="infomax"))
    drawn = {choose_pairs(rows, Rule(name="passive"), seed=seed)[0].first for seed in range(20)}
    assert drawn == {"low", "torn", "high"}
    assert choose_pairs(rows, Rule(name="passive"))[0].why == {}


# -- sessions --------------------------------------------------------------------------------------------------------


def test_answers_mean_the_response_on_that_side(tmp_path):
    asked = session(tmp_path)
    sides = set()
    while (shown := asked.next()) is not None:
        sides.add(shown.swapped)
        asked.answer(shown.number, "A" if shown.a.startswith("first") else "B")
    assert sides == {True, False}
    rows = list(Ledger(tmp_path / "ledger.jsonl"))
    assert [row.answer for row in rows] == [1.0] * 6
    assert [(row.prompt_id, row.first, row.second, row.rule, row.answered_by) for row in rows] == [
        (q.prompt_id, q.first, q.second, "infomax", "ann") for q in PAIRS
    ]
    assert rows[0].why == PAIRS[0].why
    assert [preference.chosen for preference in Ledger(tmp_path / "ledger.jsonl").preferences()] == [
        f"first {n}" for n in range(6)
    ]


def test_ties_and_doubts_are_kept_apart_and_a_session_goes_on(tmp_path):
    asked = session(tmp_path)
    asked.answer(1, "tie")
    asked.answer(2, "skip")
    assert [row.answer for row in Ledger(tmp_path / "ledger.jsonl")] == [0.5, None]
    again = session(tmp_path)
    assert (again.next().number, again.left_to_ask) == (3, 4)
    assert session(tmp_path, "bob").left_to_ask == 6


def test_answers_that_cannot_be_are_told_and_not_written(tmp_path):
    asked = session(tmp_path)
    with pytest.raises(AnnotationError, match="question 2 is not asked now: number 1 is"):
        asked.answer(2, "A")
    with pytest.raises(AnnotationError, match="an answer is one of A, B, tie, skip, got 'up'"):
        asked.answer(1, "up")
    with pytest.raises(AnnotationError, match="needs a name"):
        session(tmp_path, " ")
    assert len(Ledger(tmp_path / "ledger.jsonl")) == 0


# -- the page --------------------------------------------------------------------------------------------------------


@pytest.fixture
def served(tmp_path):
    with AnnotationServer(session(tmp_path)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def request(server, method, path, *, token=None, host=None, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=5)
    given = {"X-Token": server.token if token is None else token} | headers
    connection.putrequest(method, path, skip_host=True)
    for name, value in ({"Host": host or f"127.0.0.1:{server.server_port}"} | given).items():
        connection.putheader(name.replace("_", "-"), value)
    if body is not None:
        if "Content_Length" not in headers:
            connection.putheader("Content-Length", str(len(body)))
        if "Content_Type" not in headers:
            connection.putheader("Content-Type", "application/json")
    connection.endheaders(body)
    answer = connection.getresponse()
    content = answer.read()
    page = answer.getheader("Content-Type", "").startswith("text/html")
    return answer, content.decode() if page else json.loads(content)


def test_the_page_needs_its_token_and_fetches_nothing_from_elsewhere(served):
    address = urlsplit(served.address)
    assert address.hostname == "127.0.0.1"
    answer, page = request(served, "GET", f"{address.path}?{address.query}", token="")
    assert answer.status == 403  # an empty header is a wrong token, whatever the address says
    connection = http.client.HTTPConnection(address.netloc, timeout=5)
    connection.request("GET", f"{address.path}?{address.query}")
    answer = connection.getresponse()
    page = answer.read().decode()
    assert answer.status == 200
    assert "default-src 'none'" in answer.getheader("Content-Security-Policy")
    assert "://" not in page
    assert served.token not in page


def test_questions_are_answered_over_http(served, tmp_path):
    _, state = request(served, "GET", "/question")
    assert state["prompt"] == "prompt 0"
    assert {state["a"], state["b"]} == {"first 0", "second 0"}
    assert "infomax" in state["because"]
    assert "20 %" in state["because"]
    chance = 30 if state["a"] == "first 0" else 70
    assert state["expected"] == f"The reward model gives A a chance of {chance} %."
    for number in range(1, 7):
        body = json.dumps({"number": number, "choice": "A"}).encode()
        answer, state = request(served, "POST", "/answer", body=body)
        assert (answer.status, state["answered"]) == (200, number)
    assert state["ledger"] == str(tmp_path / "ledger.jsonl")
    assert len(Ledger(tmp_path / "ledger.jsonl")) == 6
    answer, told = request(served, "POST", "/answer", body=body)
    assert (answer.status, told["error"]) == (409, "question 6 is not asked now: all are answered")


GOOD = json.dumps({"number": 1, "choice": "A"}).encode()


@pytest.mark.parametrize(
    ("method", "path", "options", "status"),
    [
        ("GET", "/question", {"token": "wrong"}, 403),
        ("POST", "/answer", {"token": "wrong", "body": GOOD}, 403),
        ("POST", "/answer", {"host": "evil.example", "body": GOOD}, 403),
        ("GET", "/question", {"host": "evil.example"}, 403),
        ("GET", "/../../etc/passwd", {}, 404),
        ("GET", "/annotation.html", {}, 404),
        ("GET", "/answer", {}, 404),
        ("POST", "/question", {"body": GOOD}, 404),
        ("POST", "/answer", {"body": b"{" * 10}, 400),
        ("POST", "/answer", {"body": b"[1]"}, 400),
        ("POST", "/answer", {"body": b'{"number": "1", "choice": "A"}'}, 400),
        ("POST", "/answer", {"body": b"\xff\xfe"}, 400),
        ("POST", "/answer", {"body": GOOD, "Content_Type": "text/plain"}, 415),
        ("POST", "/answer", {"body": b"x" * (MAX_BODY + 1)}, 413),
        ("POST", "/answer", {}, 411),
        ("POST", "/answer", {"body": GOOD, "Content_Length": "-1"}, 411),
        ("PUT", "/answer", {"body": GOOD}, 501),
    ],
)  # fmt: skip
def test_other_requests_are_refused_and_write_nothing(served, tmp_path, method, path, options, status):
    connection = http.client.HTTPConnection("127.0.0.1", served.server_port, timeout=5)
    if method == "PUT":
        connection.request(method, path, GOOD)
        assert connection.getresponse().status == status
        return
    answer, told = request(served, method, path, **options)
    assert answer.status == status
    assert told["error"]
    assert len(Ledger(tmp_path / "ledger.jsonl")) == 0
    assert request(served, "GET", "/question")[1]["number"] == 1  # it goes on


def test_two_answers_at_once_are_one(served, tmp_path):
    statuses = []

    def send():
        statuses.append(request(served, "POST", "/answer", body=GOOD)[0].status)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [200, *[409] * 7]
    assert len(Ledger(tmp_path / "ledger.jsonl")) == 1


def test_a_full_disk_is_told_and_the_question_stays(served, monkeypatch):
    def full(rows):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(served.session.ledger, "append", full)
    answer, told = request(served, "POST", "/answer", body=GOOD)
    assert answer.status == 507
    assert "No space left on device" in told["error"]
    assert request(served, "GET", "/question")[1]["number"] == 1


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_terminal_shows_asks_and_writes(tmp_path):
    rows = [
        {"prompt": "Say\x1b[2J hi", "first": f"one\n{n}", "second": f"two {n}", "prompt_id": f"{n}"} for n in range(3)
    ]
    questions = written(tmp_path / "q.jsonl", rows)
    given = CliRunner().invoke(cli, ["annotate", str(questions), "--name", "ann"], input="w\nx\n1\n0\nq\n")
    assert given.exit_code == 0, given.output
    assert "\x1b" not in given.output
    assert "No reward model was asked" in given.output
    assert "1 A, 1 tie; 1 left; ledger" in given.output
    assert "Given as a pair" in given.output
    assert len(Ledger(tmp_path / "q.jsonl.ledger")) == 2
    again = CliRunner().invoke(cli, ["annotate", str(questions), "--name", "ann"], input="s\n")
    assert "2 of 3 were answered before" in again.output
    assert "1 skip; 0 left" in again.output


def test_mistakes_in_the_command_are_told(tmp_path):
    questions = written(tmp_path / "q.jsonl", [{"prompt": "a", "responses": ["x", "y", "z"]}])
    for arguments, message in (
        (["--rule", "double_ts"], "give a reward model"),
        (["--port", "80"], "add --page"),
        (["--reward-model", str(tmp_path)], "is this a model folder"),
    ):
        found = CliRunner().invoke(cli, ["annotate", str(questions), *arguments])
        assert found.exit_code != 0
        assert message in found.output + str(found.exception)
