"""A Hugging Face hub on 127.0.0.1: as much of its HTTP API as huggingface_hub needs for one model's files.

    GET, HEAD  /OWNER/NAME/resolve/REVISION/FILE    a file; weights are elsewhere, as on the hub (redirect)
    GET        /api/models/OWNER/NAME               about a model
    POST       /api/repos/create, /api/validate-yaml
    POST       /api/models/OWNER/NAME/preupload/main, .../commit/main

Missing, private and gated models are answered with the hub's status codes and X-Error-Code headers.
"""

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN = "hf_of_the_test"
LICENCES = ("mit", "cc-by-nc-4.0", "unknown")


@dataclass
class Model:
    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)  # sha -> files, oldest first
    messages: list[str] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.sha] if self.commits else {}

    @property
    def sha(self) -> str:
        return list(self.commits)[-1] if self.commits else "0" * 40

    def commit(self, files: dict[str, bytes], message: str = "") -> str:
        content = f"{len(self.commits)} {sorted(files)}".encode() + b"".join(files.values())
        sha = hashlib.sha1(content).hexdigest()
        self.commits[sha] = {**self.files, **files}
        self.messages.append(message)
        return sha


class FakeHub:
    """`models` is what it has, `requests` what it was asked: (method, path)."""

    def __init__(self):
        self.models: dict[str, Model] = {}
        self.requests: list[tuple[str, str]] = []
        self.broken = False  # answers everything with an internal error
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.elsewhere = (
            f"http://localhost:{self._server.server_port}/elsewhere"  # another host, as theirs is
        )
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def add(self, name: str, folder, **about) -> Model:
        model = self.models[name] = Model(**about)
        model.commit({path.name: path.read_bytes() for path in folder.iterdir()})
        return model

    def close(self):
        """Nothing listens any more; may be called again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.hub.requests.append((self.command, self.path))
        if self.hub.broken:
            return self.answer(500, b"down")
        if found := re.fullmatch(r"/api/models/([^/]+/[^/]+)", self.path):
            return self.about(found[1])
        if found := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self.path):
            return self.resolve(*found.groups())
        if found := re.fullmatch(r"/elsewhere/([0-9a-f]+)", self.path):
            contents = [c for m in self.hub.models.values() for f in m.commits.values() for c in f.values()]
            return self.answer(200, next(c for c in contents if hashlib.sha256(c).hexdigest() == found[1]))
        return self.answer(404, b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.hub.requests.append(("POST", self.path))
        if self.path == "/api/validate-yaml":
            licence = re.search(r"^license: (.*)$", json.loads(body)["content"], re.MULTILINE)
            known = licence is not None and licence[1] in LICENCES
            errors = [] if known else [{"message": '"license" must be one of mit, cc-by-nc-4.0'}]
            return self.json({"errors": errors, "warnings": []}, 200 if known else 400)
        if not self.allowed():
            return self.json({"error": "Invalid username or password."}, 401)
        if self.path == "/api/repos/create":
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            known, url = name in self.hub.models, {"url": f"{self.hub.url}/{name}"}
            if asked["organization"] == "stranger":
                return self.json({"error": "You don't have the rights to create a model there"}, 403)
            private = bool(asked.get("private")) or asked.get("visibility") == "private"
            self.hub.models.setdefault(name, Model(private=private))
            return self.json(url, 409 if known else 200)
        found = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit)/main", self.path)
        name, what = found.groups()
        if what == "preupload":
            files = [file["path"] for file in json.loads(body)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False} for path in files]
            return self.json({"files": modes})
        lines = [json.loads(line) for line in body.splitlines()]
        files = {
            line["value"]["path"]: base64.b64decode(line["value"]["content"])
            for line in lines
            if line["key"] == "file"
        }
        sha = self.hub.models[name].commit(files, lines[0]["value"]["summary"])
        url = f"{self.hub.url}/{name}/commit/{sha}"
        return self.json({"success": True, "commitOid": sha, "commitUrl": url, "hookOutput": ""})

    def allowed(self) -> bool:
        return self.headers.get("authorization") == f"Bearer {TOKEN}"

    def about(self, name: str):
        model = self.hub.models.get(name)
        if model is None or (model.private and not self.allowed()):
            return self.answer(401 if model else 404, b"", {"X-Error-Code": "RepoNotFound"})
        files = [{"rfilename": file} for file in model.files]
        return self.json({"id": name, "private": model.private, "sha": model.sha, "siblings": files})

    def resolve(self, name: str, revision: str, file: str):
        model = self.hub.models.get(name)
        if model is None or (model.private and not self.allowed()):
            return self.answer(401 if model else 404, b"", {"X-Error-Code": "RepoNotFound"})
        if model.gated and not self.allowed():
            return self.answer(401, b"", {"X-Error-Code": "GatedRepo"})
        sha = {"main": model.sha, **model.tags}.get(revision, revision)
        headers = {"X-Repo-Commit": sha}
        if sha not in model.commits:
            code = "EntryNotFound" if not model.commits else "RevisionNotFound"
            return self.answer(404, b"", headers | {"X-Error-Code": code})
        if file not in model.commits[sha]:
            return self.answer(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
        content = model.commits[sha][file]
        digest = hashlib.sha256(content).hexdigest()
        if file.endswith(".safetensors"):
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(content))}
            return self.answer(302, b"", headers | linked | {"Location": f"{self.hub.elsewhere}/{digest}"})
        return self.answer(200, content, headers | {"ETag": f'"{digest}"'})

    def json(self, document: dict, status: int = 200):
        return self.answer(status, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def answer(self, status: int, content: bytes, headers: dict | None = None):
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
