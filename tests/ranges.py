"""A web server for tests: serves a folder, by ranges or not, counts what it sends, and can be cut off."""

import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class Server:
    """`with Server(folder) as server: server.url + "name"`; `stop()` and `start()` keep the port."""

    def __init__(self, folder: Path, ranges: bool = True) -> None:
        self.folder, self.ranges = folder, ranges
        self.port = 0
        self.num_bytes = self.num_requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def start(self) -> None:
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), partial(Handler, self))
        self.port = self.http.server_address[1]
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()

    def __enter__(self) -> "Server":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Handler(SimpleHTTPRequestHandler):
    def __init__(self, server: Server, *arguments: Any) -> None:
        self.told = server
        super().__init__(*arguments, directory=str(server.folder))

    def do_GET(self) -> None:
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        path = self.told.folder / self.path.lstrip("/")
        if not path.is_file():
            return super().do_GET()
        content = path.read_bytes()
        start, end = (int(x) for x in asked.groups()) if asked and self.told.ranges else (0, len(content) - 1)
        part = content[start : end + 1]
        self.send_response(206 if asked and self.told.ranges else 200)
        self.send_header("Content-Length", str(len(part)))
        if self.told.ranges:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        self.end_headers()
        self.told.num_requests += 1
        self.told.num_bytes += len(part)
        self.wfile.write(part)

    def log_message(self, format: str, *arguments: object) -> None:
        pass
