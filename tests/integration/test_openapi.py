"""The description is complete and true: held against the running application, its routes and its answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import falcon.inspect
import jsonschema_rs
import pytest

from mailerd.api.access import Keyring
from mailerd.api.app import create_app
from mailerd.api.openapi import describe
from mailerd.api.ports import Ports
from mailerd.clock import SystemClock
from mailerd.config import Config
from mailerd.job import EmailJob
from mailerd.preflight.bounds import Bounds
from mailerd.preflight.examine import examine
from rigs.door import Answer, Door
from rigs.figures import no_sources
from rigs.redis_server import RedisServer

TESTS = Path(__file__).parents[1]
TOKENS = {"every-token": "*", "shop-token": "shop"}
DESCRIPTION = describe(guarded=True)
COMPONENTS = DESCRIPTION["components"]


def look(job: EmailJob) -> dict[str, Any]:
    """The report of a dry run, in this process: a thousand made-up jobs would take a thousand others."""
    return examine(Config(), job, SystemClock(), Bounds(100, 2.0), lambda _: None).to_json()


@pytest.fixture
def door(valkey: RedisServer) -> Iterator[Door]:
    with Door(valkey.url, look=look) as door:
        yield door


@pytest.fixture
def guarded(valkey: RedisServer) -> Iterator[Door]:
    with Door(valkey.url, TOKENS, look) as door:
        yield door


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    """What a reference stands for."""
    found: Any = DESCRIPTION
    for step in node.get("$ref", "#").split("/")[1:]:
        found = found[step]
    return found if "$ref" in node else node


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DESCRIPTION["paths"].items():
        for verb, operation in item.items():
            if verb != "parameters":
                yield path, verb.upper(), operation


def contents() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every body that is described, with where it stands."""
    for path, verb, operation in operations():
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        for body in [*bodies, *map(resolved, operation["responses"].values())]:
            for described in body["content"].values():
                yield f"{verb} {path}", described
    for name, response in COMPONENTS["responses"].items():
        for described in response["content"].values():
            yield name, described


def parameters() -> Iterator[dict[str, Any]]:
    for path, _, operation in operations():
        shared = DESCRIPTION["paths"][path].get("parameters", [])
        yield from map(resolved, [*shared, *operation.get("parameters", [])])


def complaints(schema: dict[str, Any], value: Any) -> list[str]:
    whole = {**schema, "components": COMPONENTS}
    validator = jsonschema_rs.Draft202012Validator(whole, validate_formats=True)
    return [error.message for error in validator.iter_errors(value)]


def test_every_route_is_described_and_every_description_has_its_route() -> None:
    """No call is secret, and none is made up; HEAD goes with GET, and OPTIONS is Falcon's."""
    nothing: Any = None  # routes are made without asking a port
    ports = Ports(nothing, nothing, nothing, nothing, nothing, no_sources(), nothing)
    app = create_app(ports, Keyring(), 1)
    routes = {
        (route.path, method.method)
        for route in falcon.inspect.inspect_routes(app)
        for method in route.methods
        if not method.internal and method.method != "HEAD"
    }

    assert {(path, verb) for path, verb, _ in operations()} == routes


def test_every_body_has_examples_and_each_is_what_is_described() -> None:
    """Also those of errors."""
    for place, described in contents():
        assert described["examples"], place
        for example in described["examples"].values():
            assert complaints(described["schema"], example["value"]) == [], place


def test_every_parameter_is_explained() -> None:
    """In words, and with an example that it allows (a cursor has none: it cannot be made up)."""
    for parameter in parameters():
        assert parameter["description"]
        if parameter["name"] != "cursor":
            assert complaints(parameter["schema"], parameter["example"]) == []


def test_every_error_says_the_status_it_stands_for() -> None:
    """The examples of a 4xx or 5xx hold that status."""
    for path, verb, operation in operations():
        for status, response in operation["responses"].items():
            if status >= "4":
                for example in resolved(response)["content"]["application/problem+json"]["examples"].values():
                    assert str(example["value"]["status"]) == status, (verb, path)


def test_the_examples_can_be_sent_as_they_stand(door: Door) -> None:
    """Whoever copies one gets a 2xx, and the answer that is described."""
    sent = 0
    for path, verb, operation in operations():
        for media_type, body in operation.get("requestBody", {"content": {}})["content"].items():
            for example in body["examples"].values():
                items = example["value"] if media_type.endswith("ndjson") else [example["value"]]
                raw = "\n".join(map(json.dumps, items)).encode()
                door.ask("POST", "/batches/spring-2026/cancel")
                answer = door.ask(verb, path, raw, Content_Type=media_type)
                assert answer.status in {200, 202, 409}, answer
                described = resolved(operation["responses"][str(answer.status)])
                [content] = described["content"].values()
                assert complaints(content["schema"], answer.json) == []
                sent += 1
    assert sent == 4


JOB = {"client_id": "shop", "contact_ids": ["c-17"], "template_id": "spring", "batch_id": "spring-2026"}
LINES = [
    {**JOB, "template_id": None},
    JOB,
    {**JOB, "batch_id": "b-2", "contact_ids": [7]},
]
Call = Callable[[Door], Answer]
# Each error's example by the call that meets it: at a door where shop and club both have a batch spring-2026,
# and at one with keys.
MET: dict[str, Call] = {
    "NotStrictJson.broken": lambda door: door.post(b'{"client_id": "shop" 7}'),
    "NotStrictJson.twice": lambda door: door.post(b'{"client_id": "a", "client_id": "b"}'),
    "NoSuchBatch.unknown": lambda door: door.get("/batches/spring-1999"),
    "NoSuchPath.path": lambda door: door.get("/queues"),
    "WrongMethod.get": lambda door: door.get("/queue"),
    "OtherContent.other": lambda door: door.post({**JOB, "contact_ids": ["c-99"]}),
    "OtherContents.lines": lambda door: door.bulk({**JOB, "contact_ids": ["c-99"]}),
    "Ambiguous.ambiguous": lambda door: door.get("/batches/spring-2026"),
    "TooLarge.body": lambda door: door.post(b" " * (8 * 2**20 + 1)),
    "WrongContentType.type": lambda door: door.post(JOB, Content_Type="text/plain"),
    "NotAJob.fields": lambda door: door.post({**JOB, "template_id": None, "contact_ids": ["a", 7]}),
    "BadLines.lines": lambda door: door.bulk(*LINES),
    "WrongParameters.limit": lambda door: door.get("/batches", limit=0),
    "WrongParameters.misspelt": lambda door: door.get("/batches", stat="done"),
    "HeaderTooLarge.header": lambda door: door.ask("GET", "/batches", X="x" * 70_000),
}
MET_WITH_KEYS: dict[str, Call] = {
    "NoKey.missing": lambda door: door.get("/batches"),
    "NoKey.wrong": lambda door: door.get("/batches", key="stolen"),
    "AnotherClient.other": lambda door: door.post({**JOB, "client_id": "club"}, key="shop-token"),
    "OtherClientsLines.lines": lambda door: door.bulk(JOB, {**JOB, "client_id": "club"}, key="shop-token"),
    "AllClients.other": lambda door: door.get("/metrics", key="shop-token"),
}


@pytest.mark.parametrize("name", [*MET, *MET_WITH_KEYS])
def test_the_examples_of_errors_are_what_is_answered(door: Door, guarded: Door, name: str) -> None:
    """To the letter, headers included: who searches for a message finds it here."""
    for client in ("shop", "club"):
        door.post({**JOB, "client_id": client})
    answer = MET[name](door) if name in MET else MET_WITH_KEYS[name](guarded)
    component, _, which = name.partition(".")
    response = COMPONENTS["responses"][component]
    example = response["content"]["application/problem+json"]["examples"][which]["value"]

    assert answer.problem(example["status"]) == example
    for header in response.get("headers", {}):
        assert header.lower() in answer.headers


def test_what_is_served_is_the_description_of_this_version(door: Door, guarded: Door) -> None:
    """Without a key, and with what holds there: whether one is needed."""
    assert door.get("/openapi.json").json == describe(guarded=False)
    assert guarded.get("/openapi.json").json == DESCRIPTION
    assert guarded.get("/queue/test").status == 401


@pytest.mark.parametrize("key", [None, pytest.param("every-token", marks=pytest.mark.slow)])
def test_schemathesis_finds_nothing(door: Door, guarded: Door, key: str | None, tmp_path: Path) -> None:
    """Hundreds of made-up requests, all checks: what is answered is what is described."""
    assert schemathesis(guarded if key else door, key, tmp_path, "--max-examples=3") >= 200


@pytest.mark.slow
@pytest.mark.parametrize("key", TOKENS)
def test_schemathesis_finds_nothing_in_2000_cases(
    door: Door, guarded: Door, key: str | None, tmp_path: Path
) -> None:
    """As above, with examples, edge cases, and calls that follow from each other."""
    assert schemathesis(guarded if key else door, key, tmp_path, "--max-examples=250") >= 2000


def schemathesis(door: Door, key: str | None, folder: Path, *options: str) -> int:
    """Run it over the door with all checks; how many cases it made up. What it finds fails the test."""
    program = str(Path(sys.executable).with_name("schemathesis"))
    url = f"http://127.0.0.1:{door.address[1]}/openapi.json"
    command = [program, "--config-file", str(TESTS / "rigs" / "schemathesis.toml"), "run", url]
    command += ["--checks=all", "--seed=1", "--continue-on-failure", "--no-color", "--warnings=off", *options]
    if key:
        command += ["--header", f"Authorization: Bearer {key}"]
    hooks = {"PYTHONPATH": str(TESTS), "SCHEMATHESIS_HOOKS": "rigs.schemathesis_hooks"}
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, **hooks}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return int(re.findall(r"(\d+) generated", done.stdout)[0])


class Reader(HTMLParser):
    """Notes whatever a page would load, its anchors, and the links to them."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.links: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        facts = dict(attrs)
        if tag in {"script", "link", "img", "iframe", "object", "base", "video", "audio"} or "src" in facts:
            self.loads.append(tag)
        self.anchors |= {str(facts["id"])} if "id" in facts else set()
        self.links |= {str(facts["href"])} if "href" in facts else set()


def test_docs_is_one_page_that_loads_nothing(guarded: Door) -> None:
    """Every call, type and error is on it; every link leads somewhere; nothing comes from elsewhere."""
    answer = guarded.get("/docs")
    page = answer.body.decode()
    reader = Reader()
    reader.feed(page)

    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert reader.loads == []
    assert not re.search(r"url\(|@import|javascript:", page)
    assert {operation["operationId"] for _, _, operation in operations()} <= reader.anchors
    assert {f"type-{name}" for name in COMPONENTS["schemas"]} <= reader.anchors
    assert {f"error-{name}" for name in COMPONENTS["responses"]} <= reader.anchors
    assert {link for link in reader.links if link[1:] not in reader.anchors} == {"openapi.json"}
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
