"""python-tuf's client as a command: `client.py URL FOLDER TARGET...`, as in `go/client.go` and `node/client.mjs`.

FOLDER has the pinned `root.json` and keeps what the client learns. A line of JSON says what each target's sha256 is, or
null: signed proof of absence. Whatever is refused ends the client with status 1 and the reason on stderr.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

from tuf.api.exceptions import DownloadError, RepositoryError
from tuf.ngclient import Updater


def main() -> int:
    """Refresh from the pinned root, and look each target up."""
    url, folder, names = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]
    (folder / "targets").mkdir(exist_ok=True)
    pinned = None if (folder / "timestamp.json").exists() else (folder / "root.json").read_bytes()
    client = Updater(str(folder), f"{url}metadata/", str(folder / "targets"), f"{url}targets/", bootstrap=pinned)
    found: dict[str, str | None] = {}
    try:
        client.refresh()
        for name in names:
            target = client.get_targetinfo(name)
            data = None if target is None else Path(client.download_target(target)).read_bytes()
            found[name] = None if data is None else hashlib.sha256(data).hexdigest()
    except (DownloadError, RepositoryError) as refused:
        print(f"{type(refused).__name__}: {refused}", file=sys.stderr)
        return 1
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
