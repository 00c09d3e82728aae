"""`v2f-gan info`: facts for a bug report."""

import sys

import click

from voice2face_gan.cli._console import json_option, print_json, say


@click.command()
@json_option
def info(as_json):
    """Print facts for a bug report: versions, packages that load or are missing, the machine, paths of files.

    Every package is imported, in a separate process: one that is broken is named with the reason. Nothing
    secret is printed: no tokens, no passwords of proxies.

    \b
      v2f-gan info                  paste this into a bug report
      v2f-gan info --json
    """
    from voice2face_gan.environment.machine import machine
    from voice2face_gan.environment.packages import software
    from voice2face_gan.environment.places import places, variables

    about = {"machine": machine()}
    if not as_json:
        _show(_machine(about["machine"]))
        if sys.stderr.isatty():
            say("Importing each package ...")
    about |= software()
    about |= places(about.pop("hub").get("cache"))
    about["variables"] = variables()
    about["problems"] = problems(about)
    if as_json:
        print_json(about)
        return
    _show(_torch(about["torch"], about["machine"]["flags"]))
    _show(_packages(about))
    _show(_extras(about))
    _show(_places(about))
    _show({"Environment variables": about["variables"] or {"none": ""}})
    _show({"Problems": dict.fromkeys(about["problems"] or ["none"], "")})


def problems(about: dict) -> list[str]:
    """Problems, a line each: required packages that are missing, and packages that are broken."""
    found = []
    if not about["voice2face_gan"]["installed"]:
        found.append(
            "voice2face-gan is not installed by pip: its requirements are not known, only torch was tried."
        )
    for package in about["packages"]:
        name = " ".join(filter(None, (package["name"], package["version"])))
        if package["state"] == "broken" or (package["state"] == "missing" and not package["extra"]):
            found.append(f"{name}: {package['reason']}")
        if package["outside"]:
            found.append(f"{name} is not among the versions that were tried, {package['wanted']}")
    if "error" in about["torch"]:
        found.append(f"torch loads, but gives no facts about this machine: {about['torch']['error']}")
    found += [f"{name} has no weights" for name, c in about["checkpoints"].items() if c["bytes"] is None]
    if about["inception"]["state"] == "wrong":
        found.append(about["inception"]["why"])
    return found


def _show(sections: dict[str, dict[str, str]]) -> None:
    """Titles with lines of two columns below them, the home folder written ~."""
    from voice2face_gan.environment.places import home_as_tilde

    for title, lines in sections.items():
        width = max((len(name) for name, text in lines.items() if text), default=0)
        click.echo(title)
        for name, text in lines.items():
            click.echo(home_as_tilde(f"  {name:{width}}  {text}".rstrip()))
    sys.stdout.flush()


def _machine(about: dict) -> dict:
    from voice2face_gan.version import __version__

    cores, memory, python = about["cores"], about["memory"], about["python"]
    quota = "" if cores["quota"] is None else f", a quota of {cores['quota']:g}"
    limit = "" if memory["limit"] is None else f", limited to {_size(memory['limit'])}"
    return {
        f"voice2face-gan {__version__}": {
            "Python": f"{python['version']} ({python['implementation']}), {python['executable']}",
            "system": about["os"],
            "processor": f"{about['processor'] or 'unknown'}, {about['architecture']}",
            "cores": f"{cores['all']}, {cores['usable']} usable{quota}",
            "memory": f"{_size(memory['total'])}, {_size(memory['available'])} available{limit}",
        }
    }


def _torch(facts: dict, flags: list[str] | None) -> dict:
    lines = {"instructions": "unknown" if flags is None else ", ".join(flags) or "none relevant"}
    if "threads" not in facts:
        return {"Computing": lines | {"torch": "unknown, see Problems"}}
    lines["threads"] = f"{facts['threads']} of torch, which uses {facts['cpu_capability']}"
    uses = "used: this processor has AMX" if facts["bf16"] else "not used: this processor has no AMX for it"
    lines["bfloat16"] = f"{uses} (--precision auto)"
    built = f"torch is built for {facts['built_for'] or 'processors alone'}"
    lines["GPU"] = f"none ({built})"
    for i, gpu in enumerate(facts["gpus"]):
        bf16 = "bfloat16" if gpu["bf16"] else "no bfloat16"
        about = f"{gpu['name']}, {_size(gpu['memory'])}, capability {gpu['capability']}, {bf16} ({built})"
        lines["GPU" if i == 0 else f"GPU {i}"] = about
    if facts["mps"]:
        lines["mps"] = "available"
    return {"Computing": lines}


def _packages(about: dict) -> dict:
    lines = {}
    for package in about["packages"]:
        if package["extra"] and package["state"] == "missing":
            continue  # listed with the extra
        state = "" if package["state"] == "ok" else f"  {package['state'].upper()}: {package['reason']}"
        outside = f"  not among the versions tried, {package['wanted']}" if package["outside"] else ""
        lines[package["name"]] = f"{package['version'] or ''}{outside}{state}".strip()
    ffmpeg = about["ffmpeg"]
    if ffmpeg.get("libraries"):
        libraries = ", ".join(f"{name} {version}" for name, version in ffmpeg["libraries"].items())
        lines["FFmpeg in av"] = f"{ffmpeg['ffmpeg'] or 'version unknown'}: {libraries}"
    return {"Packages": lines or {"unknown": "voice2face-gan is not installed by pip"}}


def _extras(about: dict) -> dict:
    lines = {}
    for name, extra in about["extras"].items():
        wrong = [p for p in about["packages"] if p["extra"] == name and p["state"] != "ok"]
        lacking = ", ".join(f"{p['name']} is {p['state']}" for p in wrong)
        words = f"{extra['for']}: {lacking}; {extra['install']}" if wrong else extra["for"]
        lines[name] = f"{'missing' if wrong else 'ready':8} {words}"
    return {"Extras": lines or {"unknown": ""}}


def _places(about: dict) -> dict:
    inception = about["inception"]
    found = f"{inception['path']} (verified)" if inception["path"] else f"not found: {inception['why']}"
    lines = {
        "package": about["voice2face_gan"]["path"],
        **{
            f"checkpoint {name}": f"{c['path']}, {_size(c['bytes'])}"
            for name, c in about["checkpoints"].items()
        },
    }
    for name, cache in about["caches"].items():
        path = cache["path"] or "none, the extra hub is not installed"
        lines[f"{name} cache"] = path if cache["exists"] or not cache["path"] else f"{path} (not there yet)"
    return {"Files": lines | {"Inception": found}}


def _size(size: int | None) -> str:
    if size is None:
        return "unknown"
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
