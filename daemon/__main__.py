"""The entry point of `sereno` and `python -m daemon`."""

from daemon.cli.main import app


def main() -> None:
    """Run the command line."""
    app(prog_name="sereno")


if __name__ == "__main__":
    main()
