"""`carnet mirror export`: a tree of files that any web server serves."""

from __future__ import annotations

from pathlib import Path

import click

from carnet_cli.commands.registry.mirror.checks import DIRECTORY
from carnet_cli.report.registry.mirror import exported_as_json, exported_as_text
from carnet_cli.terminal import output


@click.command()
@DIRECTORY
@click.argument("to", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@click.option("--url", required=True, help="Where the folder will be served, such as https://crates.example.org.")
@click.option("--gzip", "compressed", is_flag=True, help="Also keep each text compressed, as FILE.gz beside it.")
@click.option("--prune", is_flag=True, help="Remove what has not been published any more for a week.")
@output.message_format
def export(
    *, directory: Path, to: Path, url: str, compressed: bool, prune: bool, message_format: output.MessageFormat
) -> None:
    """Write the mirror into FOLDER as files that any web server, CDN or disk carries.

    Clients verify it as they verify a mirror that is served: `carnet trust add URL`. The next export brings the folder
    up to date, and copies what is new only; the mirror may be served meanwhile. Export at least once in twelve hours:
    the timestamp lasts for a day.

    \b
    Example:
      carnet mirror export /srv/carnet /srv/www --url https://crates.example.org
      carnet mirror export /srv/carnet /srv/www --url https://crates.example.org --gzip --prune
    """
    from carnet_mirror.export import export as write
    from carnet_mirror.export import part_count
    from carnet_mirror.state.store import Store
    from carnet_verifier.net.address import repository_url

    url = repository_url(url)
    with Store.open(directory) as store, output.counting("exporting", part_count(store)) as count:
        done = write(store, to, url, compressed=compressed, prune=prune, counting=count)
    output.show(done, message_format, exported_as_text, exported_as_json)
