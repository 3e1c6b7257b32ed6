"""``python -m flowsweep.platform.cli``: the same as the ``flowsweep`` command."""

from . import command

command()
