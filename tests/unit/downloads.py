"""What tests of downloads share: a web server on this machine, a progress bar that remembers, looks at folders."""

import hashlib
import http.server
import threading
import time

OFFICIAL = bytes(range(256)) * 8000
DIGEST = hashlib.sha256(OFFICIAL).hexdigest()


class Server:
    """A web server on this machine: files by their paths, and what is wrong with them.

    A fault is a status, or ``cut`` (ends early, each time), ``cut once``, ``hangs`` (midway), ``html``, ``plain`` (no
    ranges), ``no version`` (neither an ETag nor a date).

    Args:
        prefix: of all paths, left out in `files`, `faults` and `asked`.
    """

    def __init__(self, prefix=""):
        self.files, self.faults, self.asked, self.version = {}, {}, [], "1"
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                name = self.path.removeprefix(f"/{prefix}").strip("/")
                server.asked.append((name, self.headers.get("Range")))
                server.answer(self, name)

            def do_HEAD(self):
                server.answer(self, self.path.removeprefix(f"/{prefix}").strip("/"))

            def log_message(self, *arguments):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self):
        self.http.shutdown()
        self.http.server_close()

    def answer(self, request, name):
        begin = request.headers.get("Range")
        fault, content = self.faults.get(name), self.files.get(name)
        if content is None or isinstance(fault, int):
            request.send_error(fault or 404)
            return
        tag, start = f'"{self.version}"', 0
        if begin and fault != "plain" and request.headers.get("If-Range") in (tag, None):
            start = int(begin.removeprefix("bytes=").removesuffix("-"))
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.send_header("Content-Type", "text/html" if fault == "html" else "application/octet-stream")
        if "drive" in name:
            request.send_header("Content-Disposition", "attachment")
        if fault != "no version":
            request.send_header("ETag", tag)
        request.end_headers()
        if request.command == "HEAD":
            return
        body = content[start:]
        if fault in ("cut", "cut once", "hangs"):
            body = body[: len(body) // 2]
        if fault == "cut once":
            del self.faults[name]
        request.wfile.write(body)
        request.wfile.flush()
        if fault == "hangs":
            time.sleep(5)
        request.close_connection = True


class Told:
    """A progress bar that remembers."""

    def __init__(self):
        self.titles, self.said, self.stages = [], [], []
        self.total = self.done = self.ended = self.closed = 0

    def begin(self, title, steps):
        self.titles.append(title)
        self.total, self.done = steps, 0

    def stage(self, name):
        self.stages.append(name)

    def advance(self, steps):
        assert steps >= 0
        self.done += steps

    def say(self, line):
        self.said.append(line)

    def end(self):
        self.ended += 1

    def close(self):
        self.closed += 1


def files(folder):
    """The paths of all files in a folder, hidden ones included."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def one_line(caught, *words):
    """Assert that an error is one line with these words in it."""
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text, text


def nothing(_):
    """A structural check of weights that finds no fault."""
