#!/usr/bin/env python3
"""Real clients and proxies against a node: what is refused arrives as it was said, streams flow, generated code works.

Starts `rejoin serve`, nginx, HAProxy and Caddy on free ports of 127.0.0.1, with everything in a temporary directory. Clients:
http.client, requests, httpx and openapi-python-client (from PyPI, in a virtual environment under target/), fetch of Node.js, curl, and
Chromium: REJOIN_CHROMIUM, or the one of the system. A tool that is missing fails the run.

    python3 tests/api/clients.py [--rejoin PATH] [--repeats 5] [--only refusals|streams|generated]
"""

import argparse
import base64
import contextlib
import http.client
import http.server
import importlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PACKAGES = ["requests==2.*", "httpx==0.28.*", "openapi-python-client==0.29.*"]
TOOLS = ["nginx", "haproxy", "caddy", "node", "curl"]
BROWSERS = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"]
TOKEN = "s3cret"
START_MAX_S = 30
STOP_MAX_S = 30
STEP_MAX_S = 20
BROWSER_MAX_S = 180

# Code that Node.js runs: prints status and error code of each of a list of requests.
FETCH = """
const [url, method, headers, bytes, repeats] = JSON.parse(process.argv[1]);
for (let i = 0; i < repeats; i++) {
  try {
    const answer = await fetch(url, { method, headers, body: 'x'.repeat(bytes) });
    console.log(JSON.stringify([answer.status, (await answer.json()).error]));
  } catch (error) {
    console.log(JSON.stringify([0, String(error.cause ?? error)]));
  }
}
"""

# A page of another origin: it makes the requests that it is given and says what came of each.
PAGE = """<!doctype html><meta charset="utf-8"><title>refusals</title><script type="module">
const requests = await (await fetch('/requests')).json();
const answers = [];
for (const [url, method, headers, bytes] of requests) {
  try {
    const answer = await fetch(url, { method, headers, body: 'x'.repeat(bytes) });
    answers.push([answer.status, (await answer.json()).error]);
  } catch (error) {
    answers.push([0, String(error)]);
  }
}
await fetch('/answers', { method: 'POST', body: JSON.stringify(answers) });
</script>"""


def inside_environment() -> None:
    """Goes on in the virtual environment, made when it is not there."""
    folder = TARGET / "api-clients"
    python = folder / "bin" / "python"
    if pathlib.Path(sys.prefix).resolve() == folder.resolve():
        return
    if not (folder / "bin" / "openapi-python-client").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
    os.execv(python, [str(python), *sys.argv])


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_it_serves(running: "Running", port: int) -> None:
    deadline = time.monotonic() + START_MAX_S
    while time.monotonic() < deadline:
        if answers(port):
            return
        time.sleep(0.05)
    said = running.log.read_text()
    sys.exit(f"{running.process.args} does not serve and says\n{said}")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=5):
            return True
    except OSError:
        return False


class Running:
    """A program that ends with its block."""

    def __init__(self, command: list[str], log: pathlib.Path, variables: dict[str, str] = {}):
        plain = {name: value for name, value in os.environ.items() if not name.startswith("REJOIN_")}
        plain.update(variables)
        self.log = log
        with open(log, "w") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=plain)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(timeout=STOP_MAX_S)
        except subprocess.TimeoutExpired:
            self.process.kill()


def node(stack: contextlib.ExitStack, rejoin: str, home: pathlib.Path, name: str, **more: str) -> tuple[Running, int]:
    port = free_port()
    command = [rejoin, "serve", "--listen", f"127.0.0.1:{port}", "--data-dir", str(home / name)]
    command += ["--durability", "os", "--log-level", "warn"]
    running = stack.enter_context(Running(command, home / f"{name}.log", more))
    wait_until_it_serves(running, port)
    return running, port


# What the how-to shows, beside the address.
UPGRADING = """
            proxy_http_version 1.1;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_read_timeout 75s;
            client_max_body_size 8m;
"""


def nginx(stack: contextlib.ExitStack, home: pathlib.Path, upstream: int, directives: str) -> tuple[Running, int]:
    """An nginx with its defaults, but for what has to be elsewhere in a test, and these directives."""
    port = free_port()
    folder = home / f"nginx-{port}"
    folder.mkdir()
    places = "\n".join(
        f"    {name}_temp_path {folder}/{name};" for name in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    )
    # Its workers write bodies into this folder, which is ours.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        f"""
{user} daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
events {{}}
http {{
    access_log off;
{places}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    server {{
        listen 127.0.0.1:{port};
        {"large_client_header_buffers 4 32k;" if directives else ""}
        location / {{ proxy_pass http://127.0.0.1:{upstream}; {directives} }}
    }}
}}
"""
    )
    running = stack.enter_context(Running(["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")], folder / "log"))
    wait_until_it_serves(running, port)
    return running, port


def how_to(section: str) -> str:
    """The lines that the how-to shows for a proxy."""
    text = (ROOT / "docs" / "how-to" / "proxies.md").read_text().split(f"## {section}\n", 1)[1]
    return text.split("```", 2)[1].split("\n", 1)[1]


def haproxy(stack: contextlib.ExitStack, home: pathlib.Path, upstream: int) -> int:
    port = free_port()
    lines = how_to("HAProxy").replace("bind :80", f"bind 127.0.0.1:{port}").replace("127.0.0.1:3000", f"127.0.0.1:{upstream}")
    (home / "haproxy.cfg").write_text(lines)
    running = stack.enter_context(Running(["haproxy", "-db", "-f", str(home / "haproxy.cfg")], home / "haproxy.log"))
    wait_until_it_serves(running, port)
    return port


def caddy(stack: contextlib.ExitStack, home: pathlib.Path, upstream: int) -> int:
    port = free_port()
    # Without a name it asks nobody for a certificate.
    lines = how_to("Caddy").replace("rejoin.example.com {", f"http://127.0.0.1:{port} {{\n    bind 127.0.0.1")
    lines = "{\n    admin off\n    grace_period 1s\n}\n" + lines.replace("127.0.0.1:3000", f"127.0.0.1:{upstream}")
    (home / "Caddyfile").write_text(lines)
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(home / "Caddyfile")]
    folders = {"XDG_DATA_HOME": str(home / "caddy"), "XDG_CONFIG_HOME": str(home / "caddy")}
    running = stack.enter_context(Running(command, home / "caddy.log", folders))
    wait_until_it_serves(running, port)
    return port


# --- refusals


def by_http_client(port, method, target, headers, bytes_):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STEP_MAX_S)
    try:
        connection.request(method, target, body=b"x" * bytes_, headers=headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())["error"]
    finally:
        connection.close()


def by_requests(port, method, target, headers, bytes_):
    import requests

    answer = requests.request(
        method, f"http://127.0.0.1:{port}{target}", data=b"x" * bytes_, headers=headers, timeout=STEP_MAX_S
    )
    return answer.status_code, answer.json()["error"]


def by_httpx(port, method, target, headers, bytes_):
    import httpx

    answer = httpx.request(
        method, f"http://127.0.0.1:{port}{target}", content=b"x" * bytes_, headers=headers, timeout=STEP_MAX_S
    )
    return answer.status_code, answer.json()["error"]


def by_curl(port, method, target, headers, bytes_):
    command = ["curl", "-sS", "--max-time", str(STEP_MAX_S), "-X", method, "--data-binary", "@-"]
    command += ["-w", "\n%{http_code}", f"http://127.0.0.1:{port}{target}"]
    # curl would ask first; most clients do not.
    for name, value in {**headers, "Expect": ""}.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(command, input=b"x" * bytes_, capture_output=True)
    if done.returncode != 0:
        raise OSError(done.stderr.decode().strip())
    body, status = done.stdout.decode().rsplit("\n", 1)
    return int(status), json.loads(body)["error"]


def by_fetch(port, method, target, headers, bytes_, repeats):
    arguments = json.dumps([f"http://127.0.0.1:{port}{target}", method, headers, bytes_, repeats])
    # What fetch sets by itself.
    done = subprocess.run(
        ["node", "--input-type=module", "-e", FETCH, "--", arguments], capture_output=True, text=True, timeout=120
    )
    if done.returncode != 0:
        sys.exit(f"node: {done.stderr}")
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


class Page(http.server.BaseHTTPRequestHandler):
    """Serves the page, gives it the requests, takes its answers."""

    def do_GET(self):
        is_page = self.path == "/"
        body = PAGE if is_page else json.dumps(self.server.requests)
        self.reply(body.encode(), "text/html" if is_page else "application/json")

    def do_POST(self):
        self.server.answers = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.reply(b"", "text/plain")
        self.server.answered.set()

    def reply(self, body: bytes, kind: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Browser:
    """A Chromium that opens the page when it is asked to, under an origin that the nodes allow."""

    def __init__(self, stack: contextlib.ExitStack, home: pathlib.Path):
        self.stack, self.home = stack, home
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        stack.callback(self.server.shutdown)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"

    def ask(self, requests: list) -> list:
        self.server.requests, self.server.answered = requests, threading.Event()
        program = os.environ.get("REJOIN_CHROMIUM") or next(filter(os.path.exists, BROWSERS), None)
        if program is None:
            sys.exit("there is no Chromium: apt-get install chromium, or name one in REJOIN_CHROMIUM")
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
        flags += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        command = [program, *flags, f"--user-data-dir={self.home / 'chromium'}", self.origin]
        with Running(command, self.home / "chromium.log") as running:
            if not self.server.answered.wait(BROWSER_MAX_S):
                sys.exit(f"Chromium gave no answers and says\n{running.log.read_text()[-2000:]}")
        return [tuple(answer) for answer in self.server.answers]


def refusals(open_port: int, closed_port: int) -> list[dict]:
    """Method, target, headers, bytes of the body, and what is to arrive."""
    json_type = {"Content-Type": "application/json"}
    large, small = 6 << 20, 900_000
    return [
        dict(port=open_port, method="PUT", target="/api/a", headers=json_type, bytes=large, wants=(413, "too_large")),
        dict(port=open_port, method="POST", target="/api/_peers", headers=json_type, bytes=small, wants=(413, "too_large")),
        dict(port=open_port, method="PUT", target="/api/a", headers={"Content-Type": "text/plain"}, bytes=small, wants=(415, "unsupported_media_type")),
        dict(port=closed_port, method="PUT", target="/api/a", headers=json_type, bytes=small, wants=(401, "unauthorized")),
        dict(port=open_port, method="PUT", target="/api/a", headers={**json_type, "Origin": "https://evil.example.com"}, bytes=small, wants=(403, "origin_not_allowed")),
        dict(port=open_port, method="POST", target="/api/a", headers=json_type, bytes=small, wants=(405, "method_not_allowed")),
        dict(port=open_port, method="PUT", target="/api/a", headers={**json_type, "Host": "evil.example.com"}, bytes=small, wants=(421, "host_not_allowed")),
        dict(port=open_port, method="PUT", target="/api/a//b", headers=json_type, bytes=small, wants=(400, "invalid_path")),
        dict(port=open_port, method="PUT", target="/api/a?ttl=x", headers=json_type, bytes=large, wants=(400, "invalid_ttl")),
        dict(port=open_port, method="PUT", target="/api/a", headers={**json_type, "X-Long": "y" * 40_000}, bytes=small, wants=(431, "head_too_large")),
    ]


# What the refusals of a client of its own kind are about: a browser sets `Host` and `Origin` itself, keeps answers from a page
# whose origin is refused, and asks before it sends a header that is not usual. fetch of Node.js sets them in its own way as well.
NOT_BY = {"fetch": [421], "Chromium": [403, 421, 431]}


def matrix(
    browser: Browser, proxies: dict[int, int], open_port: int, closed_port: int, repeats: int
) -> list[str]:
    clients = {"http.client": by_http_client, "requests": by_requests, "httpx": by_httpx, "curl": by_curl, "fetch": None}
    failures, counts, by_page = [], {}, []

    def judge(name: str, way: str, wants: tuple, got: list) -> None:
        right = sum(one == wants for one in got)
        key = f"{name} {way}"
        counts[key] = tuple(a + b for a, b in zip(counts.get(key, (0, 0)), (right, len(got))))
        wrong = [one for one in got if one != wants]
        if wrong:
            failures.append(f"{name}, {way}, {wants}: {len(wrong)} of {len(got)}: {wrong[0]}")

    for case in refusals(open_port, closed_port):
        for way in ["direct", "nginx"]:
            # nginx has its own mind about bodies beyond 1 MiB, long heads, and the names that it passes on.
            if way == "nginx" and (case["bytes"] > 1 << 20 or case["wants"][0] in (421, 431)):
                continue
            port = case["port"] if way == "direct" else proxies[case["port"]]
            for name, ask in clients.items():
                if case["wants"][0] in NOT_BY.get(name, []):
                    continue
                request = (port, case["method"], case["target"], case["headers"], case["bytes"])
                if ask is None:
                    got = by_fetch(*request, repeats)
                else:
                    got = []
                    for _ in range(repeats):
                        try:
                            got.append(ask(*request))
                        except Exception as error:  # whatever the client makes of it
                            got.append((0, repr(error)))
                judge(name, way, case["wants"], got)
            if case["wants"][0] not in NOT_BY["Chromium"]:
                url = f"http://127.0.0.1:{port}{case['target']}"
                by_page += [(way, case["wants"], (url, case["method"], case["headers"], case["bytes"]))] * repeats
    for (way, wants, _), got in zip(by_page, browser.ask([request for *_, request in by_page])):
        judge("Chromium", way, wants, [got])
    print(json.dumps({"refusals": {key: f"{right}/{all_}" for key, (right, all_) in counts.items()}}))
    return failures


# --- streams


def first_change(direct: int, port: int, accept: str) -> str:
    """What comes of a change stream within a few seconds of a write, through this port."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=STEP_MAX_S)
    connection.request("GET", "/api/_changes?prefix=streamed", headers={"Accept": accept})
    answer = connection.getresponse()
    # The head is here, so the feed is open.
    put = urllib.request.Request(
        f"http://127.0.0.1:{direct}/api/streamed/a", b"1", {"Content-Type": "application/json"}, method="PUT"
    )
    urllib.request.urlopen(put, timeout=STEP_MAX_S).read()
    seen = b""
    while b"streamed/a" not in seen:
        piece = answer.read1(4096)
        if not piece:
            break
        seen += piece
    connection.close()
    return seen.decode()


def web_socket(port: int) -> tuple[int, str]:
    """The status of an upgrade, and the first message of a conversation."""
    with socket.create_connection(("127.0.0.1", port), timeout=STEP_MAX_S) as wire:
        key = base64.b64encode(os.urandom(16)).decode()
        wire.sendall(
            f"GET /api/_ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        read = b""
        while b"\r\n\r\n" not in read:
            read += wire.recv(4096)
        head, rest = read.split(b"\r\n\r\n", 1)
        status = int(head.split(b" ")[1])
        if status != 101:
            while b"}" not in rest:
                rest += wire.recv(4096)
            return status, rest.decode()
        message = b'{"id":1,"op":"ping"}'
        mask = b"\0\0\0\0"
        wire.sendall(bytes([0x81, 0x80 | len(message)]) + mask + message)
        while b"ok" not in rest:
            rest += wire.recv(4096)
        return status, rest[2:].decode()


def streams(direct: int, plain: int, as_told: dict[str, int]) -> list[str]:
    failures = []
    for name, port in {"nginx with a plain proxy_pass": plain, **as_told}.items():
        for accept in ["text/event-stream", "application/x-ndjson"]:
            try:
                seen = first_change(direct, port, accept)
            except OSError as error:
                seen = repr(error)
            if "streamed/a" not in seen:
                failures.append(f"{accept} through {name}: {seen!r}")
    status, said = web_socket(plain)
    if status != 426 or "Upgrade" not in said:
        failures.append(f"a WebSocket through nginx that drops `Upgrade`: {status} {said}")
    for name, port in as_told.items():
        status, said = web_socket(port)
        if status != 101 or '"ok":true' not in said:
            failures.append(f"a WebSocket through {name}: {status} {said}")
    print(json.dumps({"streams": "failed" if failures else "flow"}))
    return failures


# --- generated client


def generated(port: int, home: pathlib.Path) -> list[str]:
    """A client made of the description reads and writes a path with a slash, and reads the changes."""
    made = home / "generated"
    subprocess.run(
        [pathlib.Path(sys.prefix) / "bin" / "openapi-python-client", "generate", "--path", ROOT / "docs" / "openapi.json"]
        + ["--output-path", made, "--meta", "none", "--overwrite"],
        check=True,
        cwd=home,
        env={**os.environ, "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    sys.path.insert(0, str(home))
    package = importlib.import_module("generated")
    api = lambda name: importlib.import_module(f"generated.api.default.{name}")  # noqa: E731
    client = package.Client(base_url=f"http://127.0.0.1:{port}")
    failures = []

    def check(what: str, wanted, got) -> None:
        if wanted != got:
            failures.append(f"generated client, {what}: {got!r} instead of {wanted!r}")

    written = api("put_value").sync_detailed("users/alice", client=client, body={"name": "Alice"})
    check("put", (201, "users/alice"), (int(written.status_code), getattr(written.parsed, "path", None)))
    read = api("get_value").sync_detailed("users/alice", client=client)
    check("get", (200, {"name": "Alice"}), (int(read.status_code), json.loads(read.content)))
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/users/alice", timeout=STEP_MAX_S) as plain:
        check("the same value by a plain path", {"name": "Alice"}, json.loads(plain.read()))
    page = api("scan").sync("users/", client=client)
    check("scan", ["users/alice"], [item.path for item in getattr(page, "items", [])])
    changes = api("changes").sync(client=client, since="0", prefix="users")
    items = getattr(changes, "items", [])
    check("changes", ["users/alice"], [item.path for item in items if str(item.event) == "change"])
    check("a token to go on from", True, bool(getattr(changes, "token", None)))
    history = api("history").sync("users/alice", client=client)
    check("history", "users/alice", getattr(history, "path", None))
    gone = api("delete_value").sync_detailed("users/alice", client=client)
    check("delete", (200, True), (int(gone.status_code), getattr(gone.parsed, "deleted", None)))
    missing = api("get_value").sync("users/alice", client=client)
    check("what is not there", "not_found", getattr(missing, "error", None))
    print(json.dumps({"generated": "failed" if failures else "works"}))
    return failures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rejoin", default=str(TARGET / "debug" / "rejoin"), help="the program to test")
    parser.add_argument("--repeats", type=int, default=5, help="of each refusal, 1 to 100 (default: 5)")
    parser.add_argument("--only", choices=["refusals", "streams", "generated"], help="only this part")
    options = parser.parse_args()
    if not 1 <= options.repeats <= 100:
        parser.error("--repeats is 1 to 100")
    inside_environment()
    # Everything here is on this machine.
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        sys.exit(f"these tools are missing: {', '.join(missing)}")
    parts = [options.only] if options.only else ["refusals", "streams", "generated"]
    failures = []
    with tempfile.TemporaryDirectory(prefix="rejoin-clients-") as folder, contextlib.ExitStack() as stack:
        home = pathlib.Path(folder)
        browser = Browser(stack, home)
        allowed = {"REJOIN_AUTH_ALLOWED_ORIGINS": json.dumps([browser.origin])}
        open_node, open_port = node(stack, options.rejoin, home, "open", **allowed)
        closed_node, closed_port = node(stack, options.rejoin, home, "closed", REJOIN_AUTH_TOKEN=TOKEN, **allowed)
        _, plain_port = nginx(stack, home, open_port, "")
        _, plain_closed_port = nginx(stack, home, closed_port, "")
        _, upgrading_port = nginx(stack, home, open_port, UPGRADING)
        if "refusals" in parts:
            proxies = {open_port: plain_port, closed_port: plain_closed_port}
            failures += matrix(browser, proxies, open_port, closed_port, options.repeats)
        if "streams" in parts:
            as_told = {
                "nginx as in the how-to": upgrading_port,
                "HAProxy as in the how-to": haproxy(stack, home, open_port),
                "Caddy as in the how-to": caddy(stack, home, open_port),
            }
            failures += streams(open_port, plain_port, as_told)
        if "generated" in parts:
            failures += generated(open_port, home)
        for running in [open_node, closed_node]:
            if running.process.poll() is not None:
                failures.append(f"a node ended: {running.log.read_text()[-2000:]}")
    for failure in failures:
        print(f"failed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
