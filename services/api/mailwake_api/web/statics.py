"""The pages' own style, scripts and icon: small files, each under a name that says its content."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib.resources import files

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from mailwake_api.app import NAME

_MEDIA = {
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
_FOR_GOOD = "public, max-age=31536000, immutable"


class Statics:
    """All files of the folder, read once."""

    def __init__(self) -> None:
        self._by_name: dict[str, tuple[str, bytes]] = {}
        self._urls: dict[str, str] = {}
        for file in (files("mailwake_api.web") / "static").iterdir():
            stem, _, kind = file.name.rpartition(".")
            if kind not in _MEDIA:
                continue
            data = file.read_bytes()
            digest = hashlib.blake2b(data, digest_size=8).hexdigest()
            named = f"{stem}.{digest}.{kind}"
            self._by_name[named] = (_MEDIA[kind], data)
            self._urls[file.name] = f"/static/{named}"

    def url(self, name: str) -> str:
        """Where a file is fetched; changes with what is in it. Raises KeyError."""
        return self._urls[name]

    async def answer(self, request: Request) -> Response:
        """The file of `/static/{name}`; it may be kept for good, for its name would change."""
        request.scope[NAME] = "web_static"
        name = request.path_params["name"]
        found = self._by_name.get(name)
        if found is None:
            return PlainTextResponse("there is no such file\n", 404)
        media, data = found
        headers = {
            "ETag": f'"{name}"',
            "Cache-Control": _FOR_GOOD,
            "X-Content-Type-Options": "nosniff",
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        if f'"{name}"' in request.headers.get("if-none-match", ""):
            return Response(None, 304, headers)
        return Response(data, headers=headers, media_type=media)


@cache
def statics() -> Statics:
    """Those of this process."""
    return Statics()
