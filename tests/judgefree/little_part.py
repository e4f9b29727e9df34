"""A real, small part for the launcher to keep: answers on a port, notes its life in a folder, dies as it is told to.

python little_part.py '{"name": ..., "port": ..., "folder": ..., ...}'
"""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

SLEEP = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(300)"


class Health(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    plan = json.loads(sys.argv[1])
    folder, name = Path(plan["folder"]), plan["name"]

    def note(event: str, pid: int = os.getpid()) -> None:
        with (folder / "events").open("a") as events:
            events.write(f"{name} {event} {pid}\n")

    def end(*_: object) -> None:
        if plan.get("ignores_sigterm"):
            return
        note("ended")
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    starts = sum(line.startswith(f"{name} started") for line in _lines(folder / "events"))
    note("started")
    if plan.get("scratch_in"):
        note_socket(folder / "sockets", os.environ[plan["scratch_in"][0]])
    if plan.get("has_stubborn_child"):
        note("child", subprocess.Popen([sys.executable, "-c", SLEEP]).pid)
    if starts < plan.get("early_deaths", 0):
        print(f"{name} cannot go on", flush=True)
        sys.exit(plan.get("exit_code", 1))
    time.sleep(plan.get("ready_after_s", 0))
    server = ThreadingHTTPServer(("127.0.0.1", plan["port"]), Health)
    note("ready")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while True:
        signal.pause()


def note_socket(notes: Path, scratch: str) -> None:
    """Leave a Unix socket in `scratch`, as vLLM does, and write down its path."""
    path = f"{scratch}/{uuid4()}"
    socket.socket(socket.AF_UNIX).bind(path)
    with notes.open("a") as sockets:
        sockets.write(f"{path}\n")


def _lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    main()
