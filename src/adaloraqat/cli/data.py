"""`adaloraqat data`: make, index, audit and divide data sets. One file a command; this one is their table."""

import typer

from adaloraqat.cli.data_audit import audit_command
from adaloraqat.cli.data_export import export
from adaloraqat.cli.data_index import index
from adaloraqat.cli.data_phantom import phantom
from adaloraqat.cli.data_split import split

data_app = typer.Typer(name="data", help="Make, index, audit and divide data sets.", no_args_is_help=True)
data_app.command("index")(index)
data_app.command("export")(export)
data_app.command("audit")(audit_command)
data_app.command("split")(split)
data_app.command("phantom")(phantom)
