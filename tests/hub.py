"""A Hugging Face hub on the loopback device, as far as uploads and downloads of models need it."""

import base64
import contextlib
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

# Files of at least this size, in bytes, are uploaded as LFS objects.
LFS_SIZE = 20_000


class Hub(ThreadingHTTPServer):
    """The repositories, and a log of the requests.

    Attributes
    ----------
    repos : dict of {str: dict}
        For each repository, the files of each branch and each commit: names and bytes.
    heads : dict of {(str, str): str}
        The last commit of each branch of a repository.
    private : dict of {str: bool}
        Whether a repository is private.
    objects : dict of {str: bytes}
        The uploaded LFS objects by their SHA-256.
    requested : list of str
        Method and path of each request.
    token : str or None
        The token that uploads and private repositories need.
    """

    def __init__(self, token=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repos, self.heads, self.private, self.objects = {}, {}, {}, {}
        self.requested, self.token = [], token

    @property
    def endpoint(self):
        """The address of the hub."""
        return f"http://127.0.0.1:{self.server_port}"

    def files(self, repo, revision="main"):
        """Return the files of a revision, or None if there is none."""
        commits = self.repos.get(repo, {})
        return commits.get(self.heads.get((repo, revision), revision))

    def commit(self, repo, branch, files):
        """Add a commit with these files, and return its name."""
        content = json.dumps({name: hashlib.sha1(data).hexdigest() for name, data in files.items()})
        name = hashlib.sha1(f"{len(self.repos[repo])} {content}".encode()).hexdigest()
        self.repos[repo][name] = files
        self.heads[repo, branch] = name
        return name


@contextlib.contextmanager
def running_hub(**options):
    """Yield a hub that serves in a thread."""
    hub = Hub(**options)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


_REPO = r"(?P<repo>[\w.-]+/[\w.-]+)"
_MODEL = rf"/api/models/{_REPO}"
# Method and path -> name of the method of the handler. The first one that matches is used.
_ROUTES = [
    ("POST", r"/api/repos/create", "create"),
    ("POST", r"/api/validate-yaml", "validate"),
    ("POST", rf"{_MODEL}/branch/(?P<revision>.+)", "branch"),
    ("POST", rf"{_MODEL}/preupload/(?P<revision>.+)", "preupload"),
    ("POST", rf"{_MODEL}/commit/(?P<revision>.+)", "commit"),
    ("POST", rf"/{_REPO}\.git/info/lfs/objects/batch", "batch"),
    ("PUT", r"/lfs/(?P<oid>[0-9a-f]{64})", "store"),
    ("POST", r"/lfs/verify", "verify"),
    ("GET", rf"{_MODEL}/tree/(?P<revision>[^/?]+)(?P<under>/.*)?", "tree"),
    ("GET", rf"{_MODEL}/revision/(?P<revision>.+)", "info"),
    ("GET", _MODEL, "info"),
    ("HEAD", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "file"),
    ("GET", rf"/{_REPO}/resolve/(?P<revision>[^/]+)/(?P<name>.+)", "file"),
]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        path = unquote(urlsplit(self.path).path)
        self.server.requested.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for method, pattern, name in _ROUTES:
            found = re.fullmatch(pattern, path)
            if found and method == self.command:
                if self.is_allowed(found.groupdict().get("repo")):
                    return getattr(self, name)(**found.groupdict())
                return self.fail(401, "RepoNotFound")
        return self.fail(404, "EntryNotFound")

    do_GET = do_HEAD = do_POST = do_PUT = answer  # noqa: N815

    def is_allowed(self, repo):
        """Return whether the client may do this: read public models, or send the token."""
        is_open = self.command in ("GET", "HEAD") and not self.server.private.get(repo)
        is_stored = self.command == "PUT"  # its address is a secret of the client
        sent = self.headers.get("Authorization")
        return is_open or is_stored or sent == f"Bearer {self.server.token}"

    def fail(self, status, code):
        self.reply({"error": code}, status, {"X-Error-Code": code})

    def fail_to_find(self, repo, code):
        return self.fail(404, code if repo in self.server.repos else "RepoNotFound")

    def reply(self, value, status=200, headers=None):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in ({"Content-Length": str(len(content))} | (headers or {})).items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def log_message(self, *args):
        pass

    # ----------------------------------------------------------------------------------------
    # Uploads

    def create(self):
        asked = json.loads(self.body)
        repo = f"{asked.get('organization') or 'someone'}/{asked['name']}"
        url = f"{self.server.endpoint}/{repo}"
        if repo in self.server.repos:
            return self.reply({"error": "exists", "url": url}, 409)
        # The client says it in one way or the other, depending on its version.
        is_private = asked.get("private") or asked.get("visibility") == "private"
        self.server.repos[repo], self.server.private[repo] = {}, is_private
        self.server.commit(repo, "main", {".gitattributes": b""})
        return self.reply({"url": url})

    def validate(self):
        asked = json.loads(self.body)
        assert asked["content"].startswith("---\n")
        self.reply({"errors": [], "warnings": []})

    def branch(self, repo, revision):
        if (repo, revision) in self.server.heads:
            return self.reply({"error": "exists"}, 409)
        self.server.heads[repo, revision] = self.server.heads[repo, "main"]
        return self.reply({})

    def preupload(self, repo, revision):
        if self.server.files(repo, revision) is None:
            return self.fail(
                404, "RevisionNotFound" if repo in self.server.repos else "RepoNotFound"
            )
        asked = json.loads(self.body)["files"]
        modes = {True: "lfs", False: "regular"}
        files = [
            {"path": f["path"], "uploadMode": modes[f["size"] >= LFS_SIZE], "shouldIgnore": False}
            for f in asked
        ]
        return self.reply({"files": files})

    def batch(self, repo):
        asked = json.loads(self.body)
        endpoint = self.server.endpoint
        objects = [
            {
                "oid": each["oid"],
                "size": each["size"],
                "authenticated": True,
                "actions": {
                    "upload": {"href": f"{endpoint}/lfs/{each['oid']}", "header": {}},
                    "verify": {"href": f"{endpoint}/lfs/verify", "header": {}},
                },
            }
            for each in asked["objects"]
        ]
        self.reply({"transfer": "basic", "objects": objects})

    def store(self, oid):
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.objects[oid] = self.body
        self.reply({})

    def verify(self):
        asked = json.loads(self.body)
        assert len(self.server.objects[asked["oid"]]) == asked["size"]
        self.reply({})

    def commit(self, repo, revision):
        files = dict(self.server.files(repo, revision))
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
            elif entry["key"] == "deletedFile":
                del files[value["path"]]
        name = self.server.commit(repo, revision, files)
        url = f"{self.server.endpoint}/{repo}/commit/{name}"
        self.reply({"success": True, "commitOid": name, "commitUrl": url})

    # ----------------------------------------------------------------------------------------
    # Downloads

    def info(self, repo, revision="main"):
        files = self.server.files(repo, revision)
        if files is None:
            return self.fail(
                404, "RevisionNotFound" if repo in self.server.repos else "RepoNotFound"
            )
        sha = self.server.heads.get((repo, revision), revision)
        siblings = [{"rfilename": name} for name in files]
        return self.reply({"id": repo, "modelId": repo, "sha": sha, "siblings": siblings})

    def tree(self, repo, revision, under=None):
        files = self.server.files(repo, revision)
        if files is None:
            return self.fail(
                404, "RevisionNotFound" if repo in self.server.repos else "RepoNotFound"
            )
        return self.reply(
            [
                {"type": "file", "path": name, "size": len(data), "oid": _blob_id(data)}
                for name, data in files.items()
            ]
        )

    def file(self, repo, revision, name):
        data = (self.server.files(repo, revision) or {}).get(name)
        if data is None:
            return self.fail_to_find(repo, "EntryNotFound")
        sha = self.server.heads.get((repo, revision), revision)
        headers = {"X-Repo-Commit": sha, "ETag": f'"{_blob_id(data)}"', "Accept-Ranges": "bytes"}
        return self.reply(data, headers=headers)


def _blob_id(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
