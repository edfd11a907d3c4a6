"""What belongs to this user on this machine: a secret key, and the seed of scans. Standard library and `files` only.

The key signs cached results (`amdet_hub.scanner.cache_key`). The seed follows from it, so that an attacker cannot know
the prompts of a scan, and so that scans of one user share their cache. Neither tells anything of the key.
"""

import hmac
import os
import secrets
from pathlib import Path

from amdet_hub.errors import ConfigError
from amdet_hub.files import create_private

KEY_BYTES = 32
# In place of a key that cannot be kept.
_KEY_OF_THIS_PROCESS = secrets.token_bytes(KEY_BYTES)


def hub_home() -> Path:
    """The folder of the Hub's client: `HF_HOME`, else `~/.cache/huggingface`."""
    home = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    return Path(os.path.abspath(os.path.expandvars(os.path.expanduser(home))))


def key_file() -> Path:
    """The file of the key: `AMDET_HUB_CACHE_KEY`, else in `HF_HOME`, where the Hub's client keeps the token too."""
    if named := os.environ.get("AMDET_HUB_CACHE_KEY"):
        return Path(os.path.abspath(Path(named).expanduser()))
    return hub_home() / "amdet-hub-key"


def read_key() -> bytes | None:
    """The key, 32 bytes, made where there is none.

    None where it cannot be made or read, or is not its user's alone: of another owner, or open to group or others.
    """
    path = key_file()
    try:
        if not path.exists():
            create_private(path, secrets.token_bytes(KEY_BYTES))
        with path.open("rb") as file:
            facts, key = os.fstat(file.fileno()), file.read(KEY_BYTES + 1)
    except OSError:
        return None
    private = os.name != "posix" or (facts.st_uid == os.geteuid() and facts.st_mode & 0o077 == 0)
    return key if private and len(key) == KEY_BYTES else None


def installation_seed() -> int:
    """The seed of every scan that is not given one: `AMDET_HUB_SEED`, else the first 32 bits of a MAC under the key.

    Without a key it is random, and the same within this process.

    Raises:
        ConfigError: `AMDET_HUB_SEED` is not a number.
    """
    if text := os.environ.get("AMDET_HUB_SEED"):
        try:
            return int(text)
        except ValueError as error:
            raise ConfigError("AMDET_HUB_SEED", f"'{text}' is not a whole number") from error
    return int.from_bytes(hmac.digest(read_key() or _KEY_OF_THIS_PROCESS, b"seed", "sha256")[:4], "big")
