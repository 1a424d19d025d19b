"""``python -m visum …`` is ``visum …``: for launchers of several processes, which start modules."""

from visum.cli import main

if __name__ == "__main__":  # processes that this one starts import it under another name
    main()
