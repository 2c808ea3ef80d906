"""A bucket to test against: what Google Cloud Storage answers, from a dict.

It speaks the part of the JSON API that gcsfs, TensorStore and Google's own
client use, so that they run as they would. It knows no append, no rename and no
copy. Requests are counted, a write may be watched, and all may be refused. What
it cannot show: latency, quotas, log-ins, retries, folders that are more than a
part of a name.
"""

import contextlib
import email
import json
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

NAME = "bucket"
ROOT = f"gs://{NAME}"


class Bucket(ThreadingHTTPServer):
  """Objects by name, and what was asked of them."""

  daemon_threads = True

  def __init__(self):
    super().__init__(("127.0.0.1", 0), _Handler)
    self.objects: dict[str, bytes] = {}
    self.generations: dict[str, int] = {}
    self.sessions: dict[str, bytes] = {}  # uploads under way
    self.asked: Counter[str] = Counter()
    self.wrote: list[str] = []
    self.lock = threading.RLock()
    self.clear()

  def clear(self) -> None:
    """Forgets all objects, counts and wishes."""
    self.objects.clear()
    self.asked.clear()
    self.wrote.clear()
    self.before_write: Callable[[str], None] = lambda name: None
    self.refused: set[str] = set()  # GET, POST, bucket

  @property
  def environ(self) -> dict[str, str]:
    """Returns what leads clients here instead of to Google."""
    address = f"http://127.0.0.1:{self.server_port}"
    return {
      "STORAGE_EMULATOR_HOST": address,
      "TENSORSTORE_GCS_HTTP_URL": address,
      "GOOGLE_AUTH_TOKEN_FOR_TESTING": "nobody",
      "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",  # asks by gRPC
    }

  def names(self, prefix: str = "") -> list[str]:
    """Returns the names of objects that begin so, in order."""
    with self.lock:
      return sorted(name for name in self.objects if name.startswith(prefix))

  def put(self, name: str, content: bytes) -> None:
    """Writes an object whole; the only way to write."""
    self.before_write(name)
    with self.lock:
      self.objects[name] = content
      self.generations[name] = self.generations.get(name, 0) + 1
      self.wrote.append(name)


@contextlib.contextmanager
def serving() -> Iterator[Bucket]:
  """Runs a bucket until the context ends."""
  with Bucket() as bucket:
    thread = threading.Thread(target=bucket.serve_forever, args=(0.01,))
    thread.start()
    try:
      yield bucket
    finally:
      bucket.shutdown()
      thread.join()


class _Handler(BaseHTTPRequestHandler):
  protocol_version = "HTTP/1.1"
  disable_nagle_algorithm = True
  server: Bucket

  def log_message(self, *args) -> None:
    del args

  def handle(self) -> None:
    with contextlib.suppress(ConnectionError):  # a client was killed
      super().handle()

  def do_GET(self) -> None:
    path, query = self._asked()
    name = _object(path)
    if "GET" in self.server.refused:
      self._error(403, "you may not")
    elif _bucket(path) != NAME:
      self._missing()
    elif name is None and path.endswith("/o"):
      self._list(query)
    elif name is None and "bucket" in self.server.refused:
      self._error(403, "you may not")
    elif name is None:
      self._json({"name": NAME, "kind": "storage#bucket"})
    elif name not in self.server.objects:
      self.server.asked["get"] += 1
      self._missing()
    elif "alt" in query or path.startswith("/download"):
      self._read(name)
    else:
      self.server.asked["stat"] += 1
      self._json(self._about(name))

  def do_POST(self) -> None:
    path, query = self._asked()
    if path.startswith("/session/"):  # as gcsfs does
      self.do_PUT()
      return
    self.server.asked["write"] += 1
    body, kind = self._body(), query.get("uploadType")
    if "POST" in self.server.refused or kind is None:  # a rename, say
      self._error(403, "you may not")
      return
    if kind == "resumable":
      name = query.get("name") or json.loads(body)["name"]
      self.server.sessions[name] = b""
      where = f"{self.server.environ['STORAGE_EMULATOR_HOST']}/session/{name}"
      self._answer(200, b"{}", {"Location": where})
      return
    name = query.get("name")
    if kind == "multipart":
      name, body = _parts(self.headers["Content-Type"], body)
    if _bucket(path) != NAME:
      self._missing()
    elif self._raced(name, query):
      self._answer(412, b"{}")
    else:
      self.server.put(name, body)
      self._json(self._about(name))

  def do_PUT(self) -> None:
    path, _ = self._asked()
    name, sessions = path.removeprefix("/session/"), self.server.sessions
    sessions[name] += self._body()
    if self.headers["Content-Range"].endswith("/*"):
      last = len(sessions[name]) - 1
      self._answer(308, b"", {"Range": f"bytes=0-{last}"})
      return
    self.server.put(name, sessions.pop(name))
    self._json(self._about(name))

  def do_DELETE(self) -> None:
    path, _ = self._asked()
    self.server.asked["delete"] += 1
    with self.server.lock:
      gone = self.server.objects.pop(_object(path), None)
    self._missing() if gone is None else self._answer(204, b"")

  def _list(self, query: dict[str, str]) -> None:
    self.server.asked["list"] += 1
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter")
    items, folders = [], set()
    for name in self.server.names(prefix):
      rest = name.removeprefix(prefix)
      if name < query.get("startOffset", ""):
        continue
      if name >= query.get("endOffset", "\U0010ffff"):
        continue
      if delimiter and delimiter in rest:
        folders.add(prefix + rest.partition(delimiter)[0] + delimiter)
      else:
        items.append(self._about(name))
    self._json({"items": items, "prefixes": sorted(folders)})

  def _read(self, name: str) -> None:
    self.server.asked["read"] += 1
    content, about = self.server.objects[name], self._about(name)
    said = {
      "x-goog-generation": about["generation"],
      "ETag": about["generation"],
    }
    found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
    if not found:
      self._answer(200, content, said)
      return
    start = int(found[1])
    end = min(int(found[2] or len(content)), len(content) - 1)
    said["Content-Range"] = f"bytes {start}-{end}/{len(content)}"
    if start >= len(content):
      self._answer(416, b"")
    else:
      self._answer(206, content[start : end + 1], said)

  def _about(self, name: str) -> dict[str, str]:
    size = len(self.server.objects[name])
    generation = str(self.server.generations[name])
    return {
      "kind": "storage#object",
      "bucket": NAME,
      "name": name,
      "size": str(size),
      "generation": generation,
      "metageneration": "1",
      "etag": generation,
    }

  def _raced(self, name: str, query: dict[str, str]) -> bool:
    wanted, server = query.get("ifGenerationMatch"), self.server
    there = server.generations[name] if name in server.objects else 0
    return wanted is not None and int(wanted) != there

  def _asked(self) -> tuple[str, dict[str, str]]:
    parts = urlsplit(self.path)
    query = {k: v[-1] for k, v in parse_qs(parts.query).items()}
    return parts.path, query

  def _body(self) -> bytes:
    return self.rfile.read(int(self.headers.get("Content-Length", 0)))

  def _missing(self) -> None:
    self._error(404, "there is no such object")

  def _error(self, code: int, message: str) -> None:
    error = {"error": {"code": code, "message": message}}
    self._answer(code, json.dumps(error).encode())

  def _json(self, about: dict) -> None:
    kind = {"Content-Type": "application/json"}
    self._answer(200, json.dumps(about).encode(), kind)

  def _answer(
    self, status: int, content: bytes, headers: dict[str, str] | None = None
  ) -> None:
    self.send_response(status)
    for key, value in (headers or {}).items():
      self.send_header(key, value)
    self.send_header("Content-Length", str(len(content)))
    self.end_headers()
    self.wfile.write(content)


def _bucket(path: str) -> str | None:
  found = re.search(r"/b/([^/]+)", path)
  return found and found[1]


def _object(path: str) -> str | None:
  found = re.search(r"/o/(.+)$", path)
  return found and unquote(found[1])


def _parts(kind: str, body: bytes) -> tuple[str, bytes]:
  """Returns the name and the content of an upload in two parts."""
  boundary = email.message_from_string(f"Content-Type: {kind}").get_boundary()
  _, about, rest = body.split(b"--" + boundary.encode(), 2)
  about = json.loads(about.partition(b"\n\n")[2])
  end = rest.rindex(b"--" + boundary.encode() + b"--")
  head, _, content = rest[:end].partition(b"\n\n")
  return about["name"], content.removesuffix(b"\n")
