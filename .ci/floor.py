"""Print, as pip constraints, the oldest version of each run-time dependency that pyproject.toml allows."""

import pathlib
import re
import sys
import tomllib

FLOOR = re.compile(r"([A-Za-z0-9_.-]+)\s*>=\s*([0-9][0-9.]*)")


def floors(pyproject: str) -> list[str]:
    """`name==version.*` for each `name>=version`. Raises: ValueError when a dependency states no floor."""
    found = []
    for requirement in tomllib.loads(pyproject)["project"]["dependencies"]:
        match = FLOOR.match(requirement)
        if match is None:
            raise ValueError(f"{requirement} states no oldest version")
        found.append(f"{match[1]}=={match[2]}.*")
    return found


if __name__ == "__main__":
    root = pathlib.Path(__file__).parent.parent
    sys.stdout.write("\n".join(floors((root / "pyproject.toml").read_text(encoding="utf-8"))) + "\n")
