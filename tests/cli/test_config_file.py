from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from amdet_hub.cli import _options as opt
from amdet_hub.cli._config_file import KEYS, SCAN_TABLES, UNNAMED_KEYS, FileSettings, read_config
from amdet_hub.cli._request import build_scanner
from amdet_hub.cli.scan import scan as scan_command
from amdet_hub.config import ScanConfig
from amdet_hub.errors import ConfigError
from tests.cli.conftest import Run, error_codes


def write(path: str, text: str) -> Path:
    Path(path).write_text(text, encoding="utf-8")
    return Path(path)


def seen(*args: str, env: dict[str, str] | None = None) -> dict[str, object]:
    """What the flags of `scan` come to, by way of a command with the same flags."""

    @click.command()
    @opt.scan_options
    @opt.download_limit_option
    @opt.format_option
    @opt.output_option
    @opt.fail_on_option
    @opt.hub_options
    @opt.talk_options
    @opt.config_option
    @click.pass_context
    def probe(ctx: click.Context, /, **flags: object) -> None:
        found.update(flags, config=build_scanner(ctx, flags).config, file=opt.file_settings(ctx))

    found: dict[str, object] = {}
    result = CliRunner().invoke(probe, args, env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    return found


@pytest.fixture(autouse=True)
def _no_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMDET_HUB_SEED")


def test_no_file_no_settings() -> None:
    assert read_config(None) == FileSettings()


def test_precedence_flag_environment_file_default() -> None:
    write("c.toml", 'preset = "paper"\nseed = 5\nmax-download = "2GB"\ntimeout = 90\noutput = ["json=a.json"]\n')
    assert seen()["preset"] == "standard"
    by_file = seen("--config", "c.toml")
    assert (by_file["preset"], by_file["seed"], by_file["max_download"], by_file["timeout"]) == (
        "paper",
        5,
        2_000_000_000,
        90.0,
    )
    assert [str(o.path) for o in by_file["output"]] == ["a.json"]  # type: ignore[attr-defined]
    by_env = seen("--config", "c.toml", env={"AMDET_HUB_SEED": "6", "AMDET_HUB_TIMEOUT": "2m"})
    assert (by_env["preset"], by_env["seed"], by_env["timeout"]) == ("paper", 6, 120.0)
    by_flag = seen("--config", "c.toml", "--seed", "7", env={"AMDET_HUB_SEED": "6"})
    assert by_flag["seed"] == 7
    assert by_flag["config"].seed == 7  # type: ignore[attr-defined]


def test_the_file_itself_from_the_environment() -> None:
    write("c.toml", "seed = 5\n")
    assert seen(env={"AMDET_HUB_CONFIG": "c.toml"})["seed"] == 5


def test_a_pyproject_that_is_named() -> None:
    write(
        "pyproject.toml",
        '[project]\nname = "x"\n[tool.amdet-hub]\npreset = "paper"\n[tool.amdet-hub.inversion]\nrestarts = 3\n',
    )
    found = seen("--config", "pyproject.toml")
    assert found["preset"] == "paper"
    assert found["config"] == ScanConfig.for_preset("paper").replace(inversion__restarts=3)


def test_numbers_of_the_scan_are_typed() -> None:
    settings = read_config(write("c.toml", "[sweep]\ncopies = [1, 2]\n[inversion]\nlearning-rate = 1\n"))
    assert settings.scan == {"sweep__copies": (1, 2), "inversion__learning_rate": 1.0}
    assert isinstance(settings.scan["inversion__learning_rate"], float)


@pytest.mark.parametrize(
    ("text", "key", "named"),
    [
        ('presett = "paper"', "presett", "'preset'"),
        ("zzz = 1", "zzz", "preset"),
        ('seed = "1"', "seed", "'1'"),
        ("seed = true", "seed", "True"),
        ("offline = 1", "offline", "1"),
        ("output = 'json=a'", "output", "'json=a'"),
        ("output = [1]", "output", "1"),
        ("inversion = 3", "inversion", "[inversion]"),
        ("[inversion]\nrestart = 3", "inversion.restart", "'restarts'"),
        ("[inversion]\nrestarts = 2.5", "inversion", "restarts"),
        ("[sweep]\ncopies = 3", "sweep", "copies"),
        ("token = 'hf_abc'", "token", "hf auth login"),
    ],
)
def test_bad_keys_and_values(text: str, key: str, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        read_config(write("c.toml", text))
    assert refused.value.name == f"c.toml: {key}"
    assert named in refused.value.reason


def test_a_file_that_is_no_toml() -> None:
    with pytest.raises(ConfigError) as refused:
        read_config(write("c.toml", "seed = "))
    assert refused.value.name == "c.toml"


def test_a_missing_file_exits_2_with_one_sentence(cli: Run) -> None:
    result = cli("scan", "org/m", "--config", "none.toml")
    assert (result.exit_code, error_codes(result)) == (2, ["config-error"])
    assert "none.toml" in result.stderr


def test_a_bad_value_reaches_the_same_check_as_a_flag(cli: Run) -> None:
    write("c.toml", 'preset = "fast"\n')
    result = cli("scan", "org/m", "--config", "c.toml")
    assert (result.exit_code, error_codes(result)) == (2, ["usage-error"])
    assert "'fast'" in result.stderr


def test_a_huge_file_is_refused() -> None:
    with pytest.raises(ConfigError, match="1 MiB"):
        read_config(write("c.toml", "# " + "x" * (1 << 20)))


def test_a_pyproject_that_merely_lies_here_may_set_what_changes_no_verdict() -> None:
    write("pyproject.toml", '[tool.amdet-hub]\ndevice = "cpu"\nformat = "json"\nprogress = false\n')
    found = seen()
    assert (found["device"], found["format"], found["progress"]) == ("cpu", "json", False)
    assert set(found["file"].names) == set(UNNAMED_KEYS)  # type: ignore[attr-defined]


VALUES = {str: '"1"', int: "1", bool: "true", list: '["json=a.json"]'}
NAMED_ONLY = {key: VALUES[kind] for key, kind in KEYS.items() if key not in UNNAMED_KEYS} | dict.fromkeys(
    SCAN_TABLES, "{}"
)


def test_the_keys_that_weaken_a_scan_are_among_those_that_need_config() -> None:
    weaken = {"preset", "seed", "dtype", "reference", "no-reference", "timeout", "max-download", "max-memory"}
    assert weaken | {"fail-on", "offline", "endpoint", "cache-dir", "output", "sweep"} <= set(NAMED_ONLY)


@pytest.mark.parametrize("key", NAMED_ONLY)
def test_a_pyproject_that_merely_lies_here_may_set_nothing_else(key: str) -> None:
    write("pyproject.toml", f"[tool.amdet-hub]\n{key} = {NAMED_ONLY[key]}\n")
    with pytest.raises(ConfigError, match=r"--config pyproject\.toml") as refused:
        read_config(None)
    assert refused.value.name == f"pyproject.toml: {key}"
    named = read_config(Path("pyproject.toml"))
    assert key in SCAN_TABLES or key.replace("-", "_") in named.defaults


@pytest.mark.parametrize("verb", [("scan", "org/m"), ("watch", "org/...", "--once"), ("mcp",), ("staged", "x.bin")])
def test_a_refused_key_stops_every_verb_with_one_sentence(cli: Run, verb: tuple[str, ...]) -> None:
    write("pyproject.toml", '[tool.amdet-hub]\nfail-on = "never"\n')
    result = cli(*verb)
    assert (result.exit_code, error_codes(result), result.stdout) == (2, ["config-error"], "")
    assert "fail-on" in result.stderr
    assert "--config" in result.stderr


def test_somebody_elses_broken_pyproject_is_not_our_business() -> None:
    write("pyproject.toml", "[project\n")
    assert read_config(None) == FileSettings()
    write("pyproject.toml", "[tool.amdet-hub]\nseed = \n")
    with pytest.raises(ConfigError):
        read_config(None)


def test_every_key_is_a_flag_of_scan() -> None:
    flags = {name for param in scan_command.params for name in (*param.opts, *param.secondary_opts)}
    assert [key for key in KEYS if f"--{key}" not in flags] == []
