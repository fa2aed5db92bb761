"""``python -m mailerd``: the same as the command ``mailerd``."""

from mailerd.cli import main

main()
