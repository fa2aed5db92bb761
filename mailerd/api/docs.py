"""
``GET /docs``: the description as one page to read, made once from the same source as ``/openapi.json``.

Everything is in the page: no script, no font, no picture, nothing from elsewhere, and the headers say so to
the browser. Routed by ``app.py``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from importlib import resources
from typing import Any

import falcon

from mailerd.api.bodies import NDJSON

Node = Mapping[str, Any]

_CODE = re.compile("`([^`]+)`")
_STRESS = re.compile(r"\*([^*]+)\*")
_FIRST_BAD = 400


class Docs:
    """The resource."""

    def __init__(self, description: Node) -> None:
        self._page = Page(description).html().encode()

    def on_get(self, _req: falcon.Request, resp: falcon.Response) -> None:
        """The page."""
        resp.content_type = falcon.MEDIA_HTML
        resp.set_header("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
        resp.data = self._page

    on_head = on_get


class Page:
    """Puts a description into HTML."""

    def __init__(self, description: Node) -> None:
        self._root = description

    def html(self) -> str:
        """The whole page."""
        info = self._root["info"]
        style = (resources.files("mailerd.api") / "docs.css").read_text()
        head = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1">'
            f"<title>{escape(info['title'])} API</title><style>{style}</style></head>"
        )
        version = f'Version {escape(info["version"])} · <a href="openapi.json">openapi.json</a>'
        body = [
            f"<h1>{escape(info['title'])}</h1><p class=quiet>{escape(info['summary'])} {version}</p>",
            _prose(info["description"]),
            *self._contents(),
            *(part for tag in self._root["tags"] for part in self._section(tag)),
            *self._errors(),
            *self._schemas(),
            *self._security(),
        ]
        return f"{head}<body>{''.join(body)}</body></html>\n"

    def _contents(self) -> Iterator[str]:
        yield "<nav><h2>Calls</h2><ul>"
        for path, verb, operation in self._operations():
            name = f"<span class=verb>{verb.upper()}</span>{escape(path)}"
            link = f'<a href="#{operation["operationId"]}">{name}</a>'
            yield f"<li>{link} <span class=quiet>{escape(operation['summary'])}</span></li>"
        yield "</ul></nav>"

    def _section(self, tag: Node) -> Iterator[str]:
        yield f"<h2>{escape(tag['name'].capitalize())}</h2>{_prose(tag['description'])}"
        for path, verb, operation in self._operations():
            if tag["name"] in operation["tags"]:
                yield from self._operation(path, verb, operation)

    def _operation(self, path: str, verb: str, operation: Node) -> Iterator[str]:
        title = f"<span class=verb>{verb.upper()}</span>{escape(path)}"
        yield f'<section><h3 id="{operation["operationId"]}">{title}</h3>'
        yield f"<p><b>{escape(operation['summary'])}</b></p>{_prose(operation.get('description', ''))}"
        shared = self._root["paths"][path].get("parameters", [])
        yield from self._parameters([*shared, *operation.get("parameters", [])])
        if body := operation.get("requestBody"):
            yield f"<h4>Body</h4>{_prose(body.get('description', ''))}"
            yield from self._content(body["content"])
        yield "<h4>Answers</h4>"
        for status, response in operation["responses"].items():
            yield from self._response(status, response)
        yield "</section>"

    def _parameters(self, parameters: Iterable[Node]) -> Iterator[str]:
        rows = [self._resolved(parameter) for parameter in parameters]
        if rows:
            yield "<h4>Parameters</h4><table>"
            for row in rows:
                kind = _kind(self._resolved(row["schema"]))
                yield f"<tr><td><code>{row['name']}</code><br><span class=quiet>{row['in']}, {kind}</span>"
                yield f"<td>{_inline(row['description'])}"
            yield "</table>"

    def _response(self, status: str, response: Node) -> Iterator[str]:
        mood = "bad" if int(status) >= _FIRST_BAD else "good"
        whole = self._resolved(response)
        text = f"<b class={mood}>{status}</b> {_inline(whole['description'])}"
        if "$ref" in response:
            name = response["$ref"].rpartition("/")[2]
            yield f'<p>{text} <a class=quiet href="#error-{name}">example</a></p>'
            return
        yield f"<p>{text}</p>"
        yield from self._content(whole["content"])

    def _content(self, content: Node) -> Iterator[str]:
        for media_type, body in content.items():
            link = _link(body["schema"])
            yield f"<p class=quiet><code>{media_type}</code> {link}</p>"
            for example in body["examples"].values():
                yield f"<pre><code>{escape(_example(media_type, example['value']))}</code></pre>"

    def _errors(self) -> Iterator[str]:
        yield "<h2>Errors</h2>"
        for name, response in self._root["components"]["responses"].items():
            [body] = response["content"].values()
            status = next(iter(body["examples"].values()))["value"]["status"]
            yield f'<h3 id="error-{name}"><span class="verb bad">{status}</span>'
            yield f"{_inline(response['description'])}</h3>"
            for header, facts in response.get("headers", {}).items():
                yield f"<p class=quiet>Header <code>{header}: {escape(str(facts['example']))}</code></p>"
            yield from self._content(response["content"])

    def _schemas(self) -> Iterator[str]:
        yield "<h2>Types</h2>"
        for name, schema in self._root["components"]["schemas"].items():
            yield f'<h3 id="type-{name}">{name}</h3>{_prose(schema.get("description", ""))}'
            if values := schema.get("enum"):
                yield f"<p>{' '.join(f'<code>{value}</code>' for value in values)}</p>"
            yield from self._fields(schema)

    def _fields(self, schema: Node) -> Iterator[str]:
        if fields := schema.get("properties"):
            yield "<table>"
            for field, facts in fields.items():
                needed = "" if field in schema.get("required", ()) else ", optional"
                kind = _link(facts) if "$ref" in facts else _kind(facts)
                yield f"<tr><td><code>{field}</code><br><span class=quiet>{kind}{needed}</span>"
                yield f"<td>{_inline(facts.get('description', ''))}"
            yield "</table>"

    def _security(self) -> Iterator[str]:
        yield "<h2>Keys</h2>"
        for scheme in self._root["components"]["securitySchemes"].values():
            yield _prose(scheme["description"])

    def _operations(self) -> Iterator[tuple[str, str, Node]]:
        for path, item in self._root["paths"].items():
            for verb, operation in item.items():
                if verb != "parameters":
                    yield path, verb, operation

    def _resolved(self, node: Node) -> Node:
        if "$ref" not in node:
            return node
        found: Node = self._root
        for step in node["$ref"].split("/")[1:]:
            found = found[step]
        return found


def _example(media_type: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    if media_type == NDJSON:
        return "\n".join(json.dumps(line, ensure_ascii=False) for line in value)
    return json.dumps(value, indent=2, ensure_ascii=False)


def _kind(schema: Node) -> str:
    if "const" in schema:
        return f"<code>{json.dumps(schema['const'])}</code>"
    kind = schema.get("type", "object")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    if "items" in schema:
        words += f" of {_link(schema['items']) or _kind(schema['items'])}"
    return f"{words} ({schema['format']})" if "format" in schema else words


def _link(schema: Node) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return f'<a href="#type-{name}">{name}</a>' if name else ""


def _prose(text: str) -> str:
    return "".join(f"<p>{_inline(paragraph)}</p>" for paragraph in text.split("\n\n") if paragraph)


def _inline(text: str) -> str:
    return _STRESS.sub(r"<em>\1</em>", _CODE.sub(r"<code>\1</code>", escape(text, quote=False)))
