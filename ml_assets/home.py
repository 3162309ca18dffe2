"""Dagster's home of a project: the folder, its dagster.yaml, and the line of .env that names it.

Dagster takes an absolute path only, so a project that was copied or moved names the home of the old one.
"""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

from ml_assets.atomic import write_text
from ml_assets.errors import SpecError
from ml_assets.lake.paths import Paths, private_folder

ENV_HOME, ENV_DATABASE = "DAGSTER_HOME", "ML_ASSETS_DAGSTER_DATABASE"
LINE = re.compile(rf"^\s*(?:export\s+)?{ENV_HOME}\s*=\s*(?P<folder>.*?)\s*$", re.MULTILINE)
OURS = Path(__file__).parent / "dagster.yaml"
# What our dagster.yaml ends with where that variable is set. It stays when the variable is gone: records that are
# suddenly elsewhere would be a surprise.
STORAGE = f"storage: {{postgres: {{postgres_url: {{env: {ENV_DATABASE}}}}}}}\n"
DRIVER = "postgresql+psycopg2://"
ON_RAY_MODULE = "ml_assets.ray_launcher"
ON_RAY = (
    f"run_launcher: {{module: {ON_RAY_MODULE}, class: RayRunLauncher, "
    'config: {ray: {address: "http://127.0.0.1:8265", num_cpus: 1}}}'
)
HOW_TO = "See docs/how-to/several-machines.md."
# Of the dagster.yaml of earlier versions: a home with one of these has not been edited, and gets today's.
EARLIER = frozenset(
    {
        "09bc059f88976ea1c6f5105de1f0219b6e8d37e748f29e2274a399cd100cff2a",
        "dc37a1f2ea25f5297ce86c689c289468423956a9f8e5dfef04380f5b547b85c3",
    }
)


def prepare_home(paths: Paths, say: Callable[[str], object] = print) -> Path:
    """Create the home (default: data/dagster) with our dagster.yaml, and .env where there is none.

    What an earlier version of ml_assets wrote is brought up to date; what people have changed stays. Where
    `$ML_ASSETS_DAGSTER_DATABASE` is set, Dagster keeps its records in that database.

    Args:
        say: Takes a line for people, where something of theirs needs a look or was corrected.

    Raises:
        SpecError: The database cannot be used, the run launcher of dagster.yaml, or the folder that .env names.
    """
    _check_database()
    env = paths.root / ".env"
    text = _text(env)
    named = _named(text)
    if named is not None and not named.is_absolute():
        fix = "Write the absolute path, or delete the line: data/dagster is used then."
        raise SpecError("Dagster's home must be an absolute path.", found=named, where={"file": env}, fix=fix)
    if named is not None and _is_of_another(named, paths.root):
        own = (paths.data / "dagster").resolve()
        say(f".env named Dagster's home of another project, {named}; it now names {own}.")
        env.write_text(LINE.sub(lambda _: f"{ENV_HOME}={own}", text), encoding="utf-8")
        named = own
    folder = _made((named or Path(os.environ.get(ENV_HOME) or paths.data / "dagster")).resolve(), env)
    _settle(folder / "dagster.yaml", say)
    _check_launcher(folder / "dagster.yaml")
    if not env.exists():
        env.write_text(f"{ENV_HOME}={folder}\n", encoding="utf-8")
    return folder


def home_of(paths: Paths) -> Path:
    """The home that Dagster's own commands use in this project."""
    named = _named(_text(paths.root / ".env"))
    return named or Path(os.environ.get(ENV_HOME) or paths.data / "dagster")


def check_home(home: Path, root: Path) -> None:
    """Refuse to run a copied project in the home of the one that it was copied from: their runs would mix.

    Raises:
        SpecError: The home lies in a project with the same code.
    """
    owner = _project_of(home)
    if owner is None or owner == root.resolve() or _module(owner) != _module(root):
        return
    raise SpecError(
        "Dagster's home belongs to another copy of this project.",
        found=home,
        where={"project": root, "other copy": owner},
        fix="`ml-assets home` corrects .env; or set DAGSTER_HOME to a folder of this project.",
    )


def _text(env: Path) -> str:
    try:
        return env.read_text(encoding="utf-8") if env.exists() else ""
    except UnicodeDecodeError as error:
        raise SpecError(".env is not UTF-8.", found=error, where={"file": env}, fix="Save it as UTF-8.") from error


def _made(folder: Path, env: Path) -> Path:
    try:
        return private_folder(folder)
    except OSError as error:
        fix = f"Correct {ENV_HOME} in .env, or delete the line: data/dagster is used then."
        raise SpecError("Dagster's home cannot be made.", found=error, where={"file": env}, fix=fix) from error


def _named(text: str) -> Path | None:
    """The home that .env names."""
    found = LINE.search(text)
    folder = found["folder"].strip("'\"") if found else ""
    return Path(folder) if folder else None


def _is_of_another(home: Path, root: Path) -> bool:
    """Is it the default home of a project elsewhere, which is there or has been moved?"""
    if home.parts[-2:] != ("data", "dagster"):
        return False
    other = home.parent.parent.resolve()
    return other != root.resolve() and ((other / "pyproject.toml").exists() or not other.exists())


def _project_of(home: Path) -> Path | None:
    return next((one for one in home.resolve().parents if (one / "pyproject.toml").exists()), None)


def _module(root: Path) -> Any:
    try:
        found = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found.get("tool", {}).get("dagster", {}).get("module_name")


def _settle(file: Path, say: Callable[[str], object]) -> None:
    """Our dagster.yaml where there is none, or one of an earlier version; with the database where one is set."""
    found, ours = file.read_text(encoding="utf-8") if file.exists() else None, OURS.read_text(encoding="utf-8")
    has_storage = bool(os.environ.get(ENV_DATABASE)) or (found or "").endswith(STORAGE)
    plain = None if found is None else found.removesuffix(STORAGE)
    if plain is None or plain == ours or _digest(plain) in EARLIER:
        text = ours + STORAGE * has_storage
        if text != found:
            write_text(file, text)
        return
    page = "docs/reference/running.md"
    say(f"{file} is your own: what a newer ml_assets has set in {OURS} is not in it. See {page}.")
    if os.environ.get(ENV_DATABASE) and ENV_DATABASE not in plain:
        say(f"It does not name ${ENV_DATABASE}: add the line {STORAGE.strip()}")


def _check_database() -> None:
    """Refuse an address that Dagster would fail with, far from its cause."""
    address = os.environ.get(ENV_DATABASE)
    if not address:
        return
    if not address.startswith(DRIVER):
        raise SpecError(
            "The address of Dagster's database names its driver, because SQLAlchemy would look for another one.",
            found=f"{address.partition(':')[0]}:...",
            where={"variable": ENV_DATABASE},
            fix=f"Write {DRIVER}USER:PASSWORD@HOST:PORT/DATABASE.",
        )
    if find_spec("dagster_postgres") is None:
        raise SpecError(
            "Dagster's records are on PostgreSQL, and the library for that is not installed.",
            where={"variable": ENV_DATABASE},
            fix="pip install 'ml-assets[postgres]'",
        )


def _check_launcher(file: Path) -> None:
    """Refuse a launcher on Ray that Dagster would fail with when it launches the first run."""
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SpecError("dagster.yaml cannot be read.", found=error, where={"file": file}) from error
    launcher = found.get("run_launcher") if isinstance(found, dict) else None
    if not isinstance(launcher, dict):
        return
    module = str(launcher.get("module"))
    if module.split(".")[0] == "dagster_ray":
        raise SpecError(
            "That launcher would fail the runs of a terminal, because Ray does not know them.",
            found=module,
            where={"file": file, "setting": "run_launcher"},
            fix=f"Write {ON_RAY}. {HOW_TO}",
        )
    if module != ON_RAY_MODULE:
        return
    missing = [name for name in ("dagster_ray", "ray", "aiohttp_cors") if find_spec(name) is None]
    if missing:
        raise without_ray(f"missing: {', '.join(missing)}").at(file=file, setting="run_launcher")
    ray = (launcher.get("config") or {}).get("ray")
    if not isinstance(ray, dict) or not ray.get("address"):
        raise SpecError(
            "The launcher of runs on Ray needs the address of the cluster's jobs.",
            where={"file": file, "setting": "run_launcher.config.ray.address"},
            fix=f"Write {ON_RAY}. {HOW_TO}",
        )


def without_ray(found: object) -> SpecError:
    """The error where the libraries are missing with which dagster.yaml launches runs."""
    return SpecError(
        "Runs are launched on Ray, and the libraries for that are not installed.",
        found=found,
        fix="pip install 'ml-assets[ray]'",
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
