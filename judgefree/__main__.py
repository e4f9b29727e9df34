"""`judgefree`, and `python -m judgefree`."""

from judgefree.cli import run


def main() -> None:
    raise SystemExit(run())


if __name__ == "__main__":
    main()
