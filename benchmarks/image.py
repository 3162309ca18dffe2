"""Run the steps of a Dockerfile in a clean root file system, without Docker, and its services until they are healthy.

    sudo python -m benchmarks.image DOCKERFILE [CONTEXT] [--compose compose.yaml] [--options=--insecure]

Takes root, debootstrap, unshare and ip. Debian's own Python 3.11 stands for the base image's; all else is as the file
says: its steps with its environment, then each service as its user, in a network of its own, where nothing but /tmp and
the user's own folders can be written.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import yaml

MIRROR = "http://deb.debian.org/debian"
PACKAGES = "python3,python3-pip,python3-setuptools,ca-certificates,adduser"
BASE = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "PIP_BREAK_SYSTEM_PACKAGES": "1",  # this Python is the system's
    "PIP_ROOT_USER_ACTION": "ignore",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}
MOUNTED = """
for kind in dev proc; do mount --rbind /$kind "$0/$kind"; done
ip link set lo up
exec "$@"
"""
SERVICE = """
cd {folder}
{command} > /tmp/service.log 2>&1 &
service=$!
for second in $(seq {most}); do
  sleep 1
  if {health} > /dev/null 2>&1; then
    echo "healthy after $second s, as user $(id -u)"
    kill $service; wait $service
    echo "ended with $?"
    exit 0
  fi
  kill -0 $service 2>/dev/null || break
done
cat /tmp/service.log
exit 1
"""


@dataclass
class Image:
    """What a Dockerfile has made so far."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: dict(BASE))
    folder: str = "/"
    user: str = "0"
    command: list[str] = field(default_factory=list)
    entry: list[str] = field(default_factory=list)
    health: list[str] = field(default_factory=list)

    def run(self, script: str, user: str = "0", alone: bool = False) -> None:
        """Run a script in the root, in a network of its own where it shall be alone."""
        inside = ["chroot", f"--userspec={user}:{user}", str(self.root), "sh", "-ec", script]
        own = ["--mount", *(["--net"] if alone else [])]  # the mounts end with the process
        proxies = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
        environment = self.environment | ({} if alone else proxies)
        subprocess.run(["unshare", *own, "sh", "-ec", MOUNTED, str(self.root), *inside], env=environment, check=True)


def clean_root(folder: Path) -> None:
    """Debian and Python, nothing else."""
    options = ["--variant=minbase", f"--include={PACKAGES}", "bookworm", str(folder), MIRROR]
    subprocess.run(["debootstrap", *options], check=True, stdout=subprocess.DEVNULL)
    (folder / "usr/bin/python").symlink_to("python3")
    shutil.copy("/etc/resolv.conf", folder / "etc/resolv.conf")
    shutil.copy("/etc/ssl/certs/ca-certificates.crt", folder / "etc/ssl/certs/ca-certificates.crt")


def steps(dockerfile: Path) -> list[tuple[str, str]]:
    """Instructions and their arguments."""
    lines = [line for line in dockerfile.read_text().splitlines() if line and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines())]


def build(dockerfile: Path, context: Path, root: Path) -> Image:
    """Every step in its order."""
    image = Image(root)
    for word, rest in steps(dockerfile):
        print(f"{word} {rest}"[:110], flush=True)
        if word == "ENV":
            for setting in shlex.split(rest):
                name, _, value = setting.partition("=")
                image.environment[name] = re.sub(r"\$(\w+)", lambda m: image.environment.get(m[1], ""), value)
        elif word == "WORKDIR":
            image.folder = rest
            (root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
        elif word == "COPY":
            copy(context, rest.split()[0], root / image.folder.lstrip("/"))
        elif word == "RUN":
            image.run(f"cd {image.folder}\n{rest}")
        elif word == "USER":
            image.user = rest
        elif word in ("CMD", "ENTRYPOINT", "HEALTHCHECK"):
            name = {"CMD": "command", "ENTRYPOINT": "entry", "HEALTHCHECK": "health"}[word]
            setattr(image, name, json.loads(rest[rest.index("[") :]))
        elif word not in ("FROM", "ARG", "EXPOSE"):
            raise SystemExit(f"{word} is not known here")
    return image


def copy(context: Path, what: str, target: Path) -> None:
    """COPY, with a .dockerignore that lists what is taken."""
    ignore = context / ".dockerignore"
    taken = [rule[1:] for rule in ignore.read_text().split() if rule.startswith("!")] if ignore.exists() else None
    names = [what] if what != "." else taken or [path.name for path in context.iterdir()]
    for name in names:
        source = context / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy(source, target / name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dockerfile", type=Path)
    parser.add_argument("context", type=Path, nargs="?", help="default: the Dockerfile's folder")
    parser.add_argument("--compose", type=Path, help="start the services of this file, not the image's command")
    parser.add_argument("--options", default="", help="further options of the image's command")
    parser.add_argument("--data", type=Path, help="what is in the volume before the services start")
    parser.add_argument("--seconds", type=int, default=90, help="for a service to be healthy; default: 90")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="image-") as folder:
        root = Path(folder) / "root"
        clean_root(root)
        image = build(given.dockerfile, given.context or given.dockerfile.parent, root)
        if given.data:
            shutil.copytree(given.data, root / image.folder.lstrip("/") / "data", dirs_exist_ok=True)
            image.run(f"chown -R {image.user}:{image.user} {image.folder}/data")
        for name, command, health in services(image, given):
            print(f"service {name}: {shlex.join(command)}"[:110], flush=True)
            words = {"command": shlex.join(command), "health": shlex.join(health), "most": given.seconds}
            image.run(SERVICE.format(folder=image.folder, **words), image.user, alone=True)


def services(image: Image, given: argparse.Namespace) -> list[tuple[str, list[str], list[str]]]:
    """Name, command and health check of what shall be started."""
    if given.compose is None:
        return [("image", [*image.entry, *image.command, *shlex.split(given.options)], image.health)]
    file = yaml.safe_load(given.compose.read_text())["services"]
    return [
        (name, [*image.entry, *one.get("command", image.command)], one["healthcheck"]["test"][1:])
        for name, one in file.items()
    ]


if __name__ == "__main__":
    main()
