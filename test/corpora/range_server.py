"""HTTP server that supports Range and can simulate errors."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server(ThreadingHTTPServer):
    """Serves ``files`` by path, and records path and Range of each request in ``requests``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.ranges = True  # whether Range is honoured
        self.shift = 0  # by how many bytes its ranges begin too early
        self.statuses: list[int] = []  # answers to the next requests, instead of the files
        self.cuts: list[int] = []  # after how many bytes the next connections are cut


class Handler(BaseHTTPRequestHandler):
    """Answers GET."""

    server: Server

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.requests.append((self.path, wanted))
        if server.statuses:
            return self.send_error(server.statuses.pop(0))
        if self.path not in server.files:
            return self.send_error(404)
        body = server.files[self.path]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and server.ranges else 0
        start -= server.shift if start else 0
        if start and start >= len(body):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(body)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        self.wfile.write(body[start:][: server.cuts.pop(0) if server.cuts else None])

    def log_message(self, *args: object) -> None:
        """Write no log."""
