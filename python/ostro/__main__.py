"""``python -m ostro`` is the ``ostro`` command."""

from ostro.cli.main import main

main(prog_name="ostro")
