"""`python -m service`: run the gateway until SIGTERM or SIGINT."""

import argparse
import signal
import sys

import uvicorn
from fastapi import FastAPI

from pairs.errors import SettingsError
from pairs.logs import configure_logs
from pairs.settings import Settings, load_settings
from service.app import create_app

_DRAIN_S = 5
"""Open requests have so long to end; then the pairer has its own grace for what is in work."""


def main() -> int:
    """Run the gateway; 0 after an orderly end, 2 for a bad setting, 3 when it could not start."""
    arguments = _arguments()
    try:
        settings = load_settings(**vars(arguments))
        app = create_app(settings)
    except SettingsError as error:
        print(f"judgefree gateway: {error.detail}", file=sys.stderr)  # noqa: T201  a person's mistake, told to them
        return 2
    configure_logs("gateway", settings.log_level)
    return serve(app, settings)


def serve(app: FastAPI, settings: Settings) -> int:
    """Serve `app` on the host and port of the settings until a signal ends it."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_DRAIN_S,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGTERM, signal.SIGINT):  # uvicorn raises the signal anew once it has ended in order
        signal.signal(number, lambda *_: sys.exit(0))
    server.run()
    return 0 if server.started else 3


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m service", description=__doc__)
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--redis-url", help="Redis or Valkey")
    parser.add_argument("--mllm-url", help="base URLs of the vLLM replicas")
    parser.add_argument("--data-dir", help="folder of the embedded store and images")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
