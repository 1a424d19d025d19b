"""``python -m visum …`` is ``visum …``: for launchers of several processes, which start modules."""

from visum.cli import main

main()
