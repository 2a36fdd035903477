# SPDX-License-Identifier: GPL-2.0-or-later
"""Install pip into the running environment from PyPI, with nothing but the standard library.

For Pythons whose distribution splits ensurepip out. The index's own hash of the wheel is checked.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

INDEX = "https://pypi.org/simple/pip/"
JSON = "application/vnd.pypi.simple.v1+json"


def main() -> int:
    request = urllib.request.Request(INDEX, headers={"Accept": JSON})
    with urllib.request.urlopen(request, timeout=60) as answer:
        files = json.load(answer)["files"]
    wheels = [file for file in files if file["filename"].endswith("-py3-none-any.whl")]
    wheel = next(file for file in reversed(wheels) if not file.get("yanked"))
    with urllib.request.urlopen(urljoin(INDEX, wheel["url"]), timeout=60) as answer:
        data = answer.read()
    if hashlib.sha256(data).hexdigest() != wheel["hashes"]["sha256"]:
        print("get_pip: the wheel does not match its hash", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / wheel["filename"]
        path.write_bytes(data)
        command = [sys.executable, f"{path}/pip", "install", "--quiet", "--no-index", str(path)]
        return subprocess.call(command)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (OSError, ValueError, LookupError, StopIteration) as error:
        print(f"get_pip: no pip from {INDEX}: {error!r}", file=sys.stderr)
        sys.exit(1)
