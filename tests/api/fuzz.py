#!/usr/bin/env python3
"""Sends what docs/openapi.json allows, and what it does not, to a node; fails when any answer is a server error.

Starts `rejoin serve` on a free port with its data in a temporary directory, and runs schemathesis (from PyPI, in a
virtual environment under target/) against it for a bounded time. Needs Python 3.10 or newer and a built `rejoin`.

    python3 tests/api/fuzz.py [--rejoin PATH] [--seconds 45] [--seed N]
"""

import argparse
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
SCHEMATHESIS = "schemathesis==4.*"

# Streams do not end, and a link is no request for an answer.
LEFT_OUT = ["changes", "socket", "link"]

# Requests made up for each operation in the last phase: all operations get their turn within the time.
EXAMPLES_MAX = 50

START_MAX_S = 30
STOP_MAX_S = 30


def environment() -> pathlib.Path:
    """The virtual environment, made when it is not there."""
    folder = TARGET / "api-fuzz"
    program = folder / "bin" / "schemathesis"
    if not program.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", SCHEMATHESIS], check=True)
    return program


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_until_ready(url: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_MAX_S
    while time.monotonic() < deadline:
        if server.poll() is not None:
            sys.exit(f"the node ended with {server.returncode} instead of serving")
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.1)
    sys.exit("the node does not serve")


def server_errors(url: str) -> dict[str, float]:
    """What the node itself has counted as 5xx, by route and method."""
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    found = re.findall(r'^rejoin_http_requests_total\{(.*status="5xx".*)\} (\S+)$', text, re.MULTILINE)
    return {labels: float(count) for labels, count in found}


def requests(url: str) -> int:
    text = urllib.request.urlopen(f"{url}/metrics", timeout=10).read().decode()
    return int(sum(float(count) for count in re.findall(r"^rejoin_http_requests_total\{.*\} (\S+)$", text, re.M)))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rejoin", default=str(TARGET / "debug" / "rejoin"), help="the program to test")
    parser.add_argument("--seconds", type=int, default=45, help="for how long, 10 to 600 (default: 45)")
    parser.add_argument("--seed", type=int, help="of the requests, to repeat a run")
    options = parser.parse_args()
    if not 10 <= options.seconds <= 600:
        parser.error("--seconds is 10 to 600")
    program = environment()
    with tempfile.TemporaryDirectory(prefix="rejoin-fuzz-") as home:
        url = f"http://127.0.0.1:{free_port()}"
        command = [options.rejoin, "serve", "--listen", url.removeprefix("http://")]
        command += ["--data-dir", f"{home}/data", "--durability", "os", "--log-level", "warn"]
        plain = {name: value for name, value in os.environ.items() if not name.startswith("REJOIN_")}
        with open(f"{home}/log", "w") as log:
            server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=plain)
            try:
                wait_until_ready(url, server)
                run = [str(program), "run", str(ROOT / "docs" / "openapi.json"), "--url", url]
                run += ["--checks", "not_a_server_error", "--mode", "all", "--max-examples", str(EXAMPLES_MAX)]
                run += ["--request-timeout", "35", "--continue-on-failure", "--no-color"]
                run += ["--phases", "coverage,fuzzing"]
                for name in LEFT_OUT:
                    run += ["--exclude-operation-id", name]
                if options.seed is not None:
                    run += ["--seed", str(options.seed)]
                fuzzer = subprocess.Popen(run, cwd=home)
                try:
                    code = fuzzer.wait(timeout=options.seconds)
                except subprocess.TimeoutExpired:
                    # As Ctrl-C does: it stops and tells what it found so far.
                    fuzzer.send_signal(signal.SIGINT)
                    try:
                        code = fuzzer.wait(timeout=STOP_MAX_S)
                    except subprocess.TimeoutExpired:
                        fuzzer.kill()
                        code = fuzzer.wait()
                errors = server_errors(url)
                summary = {
                    "seconds": options.seconds,
                    "requests": requests(url),
                    "serverErrors": errors,
                    "schemathesis": code,
                    "nodeRuns": server.poll() is None,
                }
                print(json.dumps(summary))
                failed = bool(errors) or not summary["nodeRuns"] or summary["requests"] < 100
            finally:
                server.terminate()
                try:
                    ended = server.wait(timeout=STOP_MAX_S)
                except subprocess.TimeoutExpired:
                    server.kill()
                    ended = "a kill"
        said = pathlib.Path(f"{home}/log").read_text()
        if failed or ended != 0:
            print(f"--- the node ended with {ended} and said\n{said[-4000:]}", file=sys.stderr)
        return 1 if failed or ended != 0 else 0


if __name__ == "__main__":
    sys.exit(main())
