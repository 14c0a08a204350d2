"""What the site is made of beside docs/*.md, made anew at each build from the code and the schemas.

`make docs` builds it (mkdocs.yml). Pages link to files of the repository as they do on a code host:
here such a link leads to a page that is made, or to a copy of the file under `repository/`.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from mkdocs.structure.files import File, Files

from mailwake import __all__ as PUBLIC
from mailwake.cli import usage
from mailwake.migrate import read_migrations
from mailwake_api.endpoints import ENDPOINTS
from mailwake_api.openapi import document

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "schemas"
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "schemas/README.md": "reference/contracts.md",
    "schemas": "reference/contracts.md",
    "docs/decisions": "decisions/0001-batches.md",
    "docs/operations": "operations/README.md",
}
"""Where a file or folder of the repository stands on the site."""
_LINK = re.compile(r"(?<!`)(!?\[[^\]]*\]\()([^)\s#]+)(#[^)\s]*)?\)")


def on_config(config: Any) -> Any:
    """Puts the files into the navigation that its patterns name."""
    config["nav"] = [_named(item) for item in config["nav"]]
    return config


def _named(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    ((title, what),) = item.items()
    if isinstance(what, list):
        return {title: [_named(each) for each in what]}
    if "*" not in what:
        return item
    docs = ROOT / "docs"
    found = [str(file.relative_to(docs)) for file in sorted(docs.glob(what))]
    return {title: [name for name in found if not name.endswith("README.md")]}


def on_files(files: Files, config: Any) -> Files:
    """Adds what is made, and what pages link to."""
    made = {
        "index.md": _moved((ROOT / "README.md").read_text("utf-8"), "README.md", "index.md"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text("utf-8"),
        "reference/contracts.md": contracts(),
        "reference/topics.md": topics(),
        "reference/tables.md": tables(),
        "reference/http.md": http(),
        "reference/openapi.json": json.dumps(_described(), indent=1),
        "reference/library.md": library(),
        "reference/commands.md": f"# Commands\n\n```text\n{usage()}\n```\n",
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    linked = {
        target
        for page in files.documentation_pages()
        for target in _targets(_text(page), _source(page))
        if target not in PAGES and not target.startswith("docs/")
    }
    for target in sorted(linked):
        if (ROOT / target).is_file():
            path = str(ROOT / target)
            files.append(File.generated(config, f"repository/{target}", abs_src_path=path))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Leads links that leave docs/ to where their targets stand on the site."""
    here = page.file.src_uri
    markdown = markdown.replace("<!-- scaling -->", scaling())
    return markdown if here == "index.md" else _moved(markdown, _source(page.file), here)


def _source(file: File) -> str:
    """The file of the repository that a page is of."""
    back = {page: source for source, page in PAGES.items() if source.endswith(".md")}
    return back.get(file.src_uri, f"docs/{file.src_uri}")


def _text(file: File) -> str:
    return file.content_string


def _targets(text: str, source: str) -> Iterator[str]:
    """The files and folders of the repository that a text links to."""
    for _, target, _ in _LINK.findall(text):
        if ":" not in target:
            yield posixpath.normpath(posixpath.join(posixpath.dirname(source), target))


def _moved(text: str, source: str, here: str) -> str:
    """The text of a file, with its links as they hold at a place of the site."""

    def lead(match: re.Match[str]) -> str:
        before, target, anchor = match[1], match[2], match[3] or ""
        if ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if path in PAGES:
            path = PAGES[path]
        elif path.startswith("docs/"):
            path = path.removeprefix("docs/")
        elif path.startswith("schemas/examples") and not (ROOT / path).is_file():
            path = "reference/topics.md"
        elif (ROOT / path).is_file():
            path = f"repository/{path}"
        elif (ROOT / path).is_dir():  # no page is made of a folder: its name stays
            return before.lstrip("!")[1:-2]
        else:
            return match[0]
        return f"{before}{posixpath.relpath(path, posixpath.dirname(here) or '.')}{anchor})"

    return _LINK.sub(lead, text)


def library() -> str:
    """A page of the public names, from their docstrings."""
    parts = ["# The library", "", "All that `import mailwake` gives to senders.", ""]
    for name in [*PUBLIC, "publish.publish"]:
        parts += [f"::: mailwake.{name}", ""]
    return "\n".join(parts)


def contracts() -> str:
    """schemas/README.md, and each contract with its fields."""
    parts = [(SCHEMAS / "README.md").read_text("utf-8"), ""]
    for file in sorted((SCHEMAS / "json").glob("*.schema.json")):
        schema = json.loads(file.read_text("utf-8"))
        parts += [f"## {file.name.partition('.')[0]}", "", schema.get("description", ""), ""]
        if fields := schema.get("properties"):
            required = schema.get("required", [])
            parts += ["| field | is | must be there |", "|---|---|---|"]
            parts += [
                f"| `{name}` | {_cell(field.get('description', ''))} | {_yes(name in required)} |"
                for name, field in fields.items()
            ]
        parts += ["", '??? note "JSON Schema"', "", "    ```json"]
        parts += [f"    {line}" for line in file.read_text("utf-8").splitlines()]
        parts += ["    ```", ""]
    return "\n".join(parts)


def topics() -> str:
    """Each topic, from its file."""
    parts = ["# Topics", "", "Made by `mailwake topics apply` of schemas/topics.", ""]
    for file in sorted((SCHEMAS / "topics").glob("*.yaml")):
        said = yaml.safe_load(file.read_text("utf-8"))
        parts += [f"## {said['topic']}", "", said["purpose"], "", "| | |", "|---|---|"]
        for name, value in said.items():
            if name not in ("topic", "purpose"):
                parts.append(f"| {name} | {_cell(_shown(value))} |")
        parts.append("")
    return "\n".join(parts)


def tables() -> str:
    """The migrations, in their order."""
    parts = [
        "# Tables",
        "",
        "What `mailwake migrate` makes of ClickHouse, in this order. Analysts read the views "
        "([analysts.md](../analysts.md)).",
        "",
    ]
    for migration in read_migrations(SCHEMAS / "clickhouse"):
        text = (SCHEMAS / "clickhouse" / f"{migration}.sql").read_text("utf-8")
        parts += [f"## {migration}", "", "```sql", text.rstrip(), "```", ""]
    return "\n".join(parts)


def _described() -> dict[str, Any]:
    return document(ENDPOINTS, "https://mail.example.com")


def http() -> str:
    """The endpoints, from the description that the API gives of itself."""
    parts = [
        "# Endpoints",
        "",
        "From the description that a running API gives at `/openapi.json`; "
        "[the same as a file](openapi.json). How to use them: [api.md](../api.md).",
        "",
    ]
    for path, operations in _described()["paths"].items():
        for method, operation in operations.items():
            if not isinstance(operation, dict) or "responses" not in operation:
                continue
            parts += [f"## {method.upper()} {path}", "", operation.get("summary", ""), ""]
            if operation.get("description"):
                parts += [operation["description"], ""]
            if given := operation.get("parameters"):
                parts += ["| parameter | in | is |", "|---|---|---|"]
                parts += [
                    f"| `{each['name']}` | {each['in']} | {_cell(each.get('description', ''))} |"
                    for each in given
                ]
                parts.append("")
            answers = ", ".join(operation["responses"])
            parts += [f"Answers: {answers}.", ""]
    return "\n".join(parts)


def scaling() -> str:
    """The run with several partitions, where it has been measured: its rows (`bench.row`)."""
    file = ROOT / "bench" / "results" / "scaling.json"
    if not file.exists():
        return "It has not been run on a quiet machine yet."
    rows = json.loads(file.read_text("utf-8"))["content"]
    parts = ["", "| | measured | beside | ratio |", "|---|---|---|---|"]
    for row in rows:
        beside = f"{row['beside']:,.0f} ({_cell(row['beside_what'])})"
        measured = f"{row['figure']:,.0f} {row['unit']}"
        parts.append(f"| {_cell(row['stage'])} | {measured} | {beside} | {row['ratio']:.2f} |")
    return "\n".join(parts)


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "<br>".join(f"`{name}`: {each}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _yes(is_so: bool) -> str:
    return "yes" if is_so else ""
