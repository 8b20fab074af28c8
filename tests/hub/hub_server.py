"""A local server that speaks the Hugging Face hub's protocol, and what tests can make it do wrong."""

import hashlib
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

LFS_FROM_BYTES = 1000  # files of this size and more are served as LFS objects, from the CDN


def git_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Repo:
    files: dict[str, bytes]
    revision: int = 1
    private: bool = False
    gated: bool = False
    with_blobs: bool = True  # a mirror may leave sizes and digests out of its listing
    offers: dict[int, "Offer"] = field(default_factory=dict)  # pull requests, by number
    with_requests: bool = True  # a mirror may know none

    @property
    def commit(self) -> str:
        return hashlib.sha1(str(self.revision).encode()).hexdigest()


@dataclass
class Offer:
    """A pull request: what the repository would be with it."""

    author: str
    title: str
    repo: Repo


@dataclass
class Hub:
    """What the server holds, what it saw, and how it misbehaves."""

    repos: dict[str, Repo] = field(default_factory=dict)
    token: str = "hf_good"
    requests: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, Range
    credentials_at_cdn: list[str] = field(default_factory=list)
    cut_after: dict[str, int] = field(default_factory=dict)  # file -> drop the connection after so many bytes
    hold_after: dict[str, int] = field(default_factory=dict)  # file -> send so many bytes, then nothing more
    held: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    corrupt: set[str] = field(default_factory=set)
    status: dict[str, int] = field(default_factory=dict)  # file -> answer with this status
    url: str = ""

    def fetched(self) -> list[tuple[str, str | None]]:
        """Files whose content was asked for, with the Range of each request."""
        return [(path.rpartition("/")[2], range_) for method, path, range_ in self.requests
                if method == "GET" and path.startswith(("/cdn/", "/plain/"))]  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *args: Any) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0]
        self.hub.requests.append((self.command, path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        if parts[:2] == ["api", "models"] and parts[4:] == ["discussions"]:
            self._discussions("/".join(parts[2:4]))
        elif parts[:2] == ["api", "models"]:
            self._model_info("/".join(parts[2:4]), unquote("/".join(parts[5:])))
        elif parts[0] in ("cdn", "plain"):
            if parts[0] == "cdn" and self.headers.get("Authorization"):
                self.hub.credentials_at_cdn.append(path)
            self._content("/".join(parts[1:3]), "/".join(parts[3:]))
        elif len(parts) >= 5 and parts[2] == "resolve":
            self._resolve("/".join(parts[:2]), parts[3], "/".join(parts[4:]))
        else:
            self._send(404, {"error": "no such path"}, {})

    def _repo(self, name: str) -> Repo | None:
        """The repository, or None when the refusal has been sent."""
        repo = self.hub.repos.get(name)
        given = self.headers.get("Authorization")
        good = given == f"Bearer {self.hub.token}"
        if given is not None and not good:
            self._send(401, {"error": "Invalid credentials in Authorization header"}, {})
        elif repo is None or (repo.private and not good):
            status = 404 if good else 401
            self._send(status, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif repo.gated and not good:
            self._send(403, {"error": "gated"}, {"X-Error-Code": "GatedRepo"})
        else:
            return repo
        return None

    def _discussions(self, name: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        if not repo.with_requests:
            self._send(404, {"error": "Not Found"}, {})
            return
        found = [
            {"num": number, "author": {"name": offer.author}, "title": offer.title, "status": "open",
             "isPullRequest": True, "createdAt": "2024-01-01T00:00:00.000Z", "repo": {"name": name, "type": "model"}}
            for number, offer in repo.offers.items()
        ]  # fmt: skip
        self._send(200, {"discussions": found, "count": len(found), "start": 0}, {})

    def _model_info(self, name: str, revision: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        if revision.startswith("refs/pr/"):
            repo = repo.offers[int(revision.rpartition("/")[2])].repo
        siblings = []
        for file, content in repo.files.items():
            entry: dict[str, Any] = {"rfilename": file}
            if repo.with_blobs:
                entry |= {"size": len(content), "blobId": git_sha1(content)}
                if len(content) >= LFS_FROM_BYTES:
                    sha256 = hashlib.sha256(content).hexdigest()
                    entry["lfs"] = {"sha256": sha256, "size": len(content), "pointerSize": 134}
            siblings.append(entry)
        info = {"_id": "1", "id": name, "modelId": name, "sha": repo.commit, "private": repo.private,
                "gated": False, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0}  # fmt: skip
        self._send(200, info, {})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        repo = self._repo(name)
        if repo is None:
            return
        repo = self._of_commit(repo, revision)
        if revision not in ("main", repo.commit):
            self._send(404, {"error": "revision"}, {"X-Error-Code": "RevisionNotFound"})
            return
        if file not in repo.files:
            self._send(
                404, {"error": "entry"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": repo.commit}
            )
            return
        content = repo.files[file]
        headers = {"X-Repo-Commit": repo.commit}
        if len(content) >= LFS_FROM_BYTES:
            cdn = self.hub.url.replace("127.0.0.1", "localhost")  # another host: credentials stay behind
            headers["X-Linked-Etag"] = f'"{hashlib.sha256(content).hexdigest()}"'
            headers |= {
                "X-Linked-Size": str(len(content)),
                "Location": f"{cdn}/cdn/{name}/{file}?{repo.commit}",
            }
            self._send(302, None, headers)
        elif self.command == "HEAD":
            self._send(200, None, headers | {"ETag": f'"{git_sha1(content)}"'}, length=len(content))
        else:
            self._send(307, None, {"Location": f"/plain/{name}/{file}?{repo.commit}"})

    def _of_commit(self, repo: Repo, commit: str) -> Repo:
        """The repository as it is, or as a pull request would make it."""
        return next((offer.repo for offer in repo.offers.values() if offer.repo.commit == commit), repo)

    def _content(self, name: str, file: str) -> None:
        content = self._of_commit(self.hub.repos[name], self.path.partition("?")[2]).files[file]
        if file in self.hub.status:
            self._send(self.hub.status[file], {"error": "told to"}, {})
            return
        if file in self.hub.corrupt:
            content = content[:-1] + bytes([content[-1] ^ 1])
        start = 0
        if range_ := self.headers.get("Range"):
            start = int(range_.removeprefix("bytes=").rstrip("-"))
        body = content[start:]
        self.send_response(206 if range_ else 200)
        if range_:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if file in self.hub.cut_after:
            self.wfile.write(body[: self.hub.cut_after.pop(file)])
            self.close_connection = True
        elif file in self.hub.hold_after:
            self.wfile.write(body[: self.hub.hold_after.pop(file)])
            self.wfile.flush()
            self.hub.held.set()
            self.hub.release.wait()
            self.close_connection = True
        else:
            self.wfile.write(body)

    def _send(self, status: int, values: Any, headers: dict[str, str], length: int | None = None) -> None:
        body = b"" if values is None else json.dumps(values).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class RunningHub:
    """The server, running for the length of a `with` block."""

    def __enter__(self) -> Hub:
        self.hub = Hub()
        handler = type("BoundHandler", (Handler,), {"hub": self.hub})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.hub.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()
        return self.hub

    def __exit__(self, *error: object) -> None:
        self.hub.release.set()
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
