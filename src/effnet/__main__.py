"""`python -m effnet`."""

from effnet.cli.main import run

if __name__ == "__main__":
    run()
