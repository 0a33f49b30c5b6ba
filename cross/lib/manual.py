#!/usr/bin/env python3
"""Writes the manual page and the shells' completions from what the program says of itself with --help.

    manual.py OUT DATE -- PROGRAM...     DATE in seconds since 1970; PROGRAM is how the program is run
"""

import pathlib
import re
import subprocess
import sys
import time


class Command:
    """One (sub)command as --help describes it."""

    def __init__(self, run, path):
        self.path = path
        text = subprocess.run([*run, *path, "--help"], check=True, capture_output=True, text=True, env={"COLUMNS": "100", "PATH": "/usr/bin:/bin"}).stdout
        self.sections, self.about = [], []
        current = self.about
        for line in text.splitlines():
            head = re.fullmatch(r"(Commands|Options|Arguments):", line)
            usage = re.fullmatch(r"Usage: (.*)", line)
            if head:
                current = []
                self.sections.append((head[1], current))
            elif usage:
                self.usage = usage[1]
                current = []
                self.sections.append(("Notes", current))
            else:
                current.append(line)
        self.options = sorted(set(re.findall(r"(?m)^\s{2,}(?:-\w, )?(--[\w-]+)", text)))
        names = [match[1] for head, lines in self.sections if head == "Commands" for line in lines if (match := re.match(r"  (\w[\w-]*)", line))]
        self.children = [Command(run, [*path, name]) for name in names if name != "help"]

    def all(self):
        yield self
        for child in self.children:
            yield from child.all()


def escaped(text):
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def roff(root, version, date):
    day = time.strftime("%Y-%m-%d", time.gmtime(date))
    out = [f'.TH LIGHTBOX 1 "{day}" "lightbox {version}" "User Commands"', ".SH NAME",
           "lightbox \\- " + escaped(" ".join("\n".join(root.about).strip().split("\n\n")[0].split()).rstrip(".")), ".SH SYNOPSIS", ".B " + escaped(root.usage)]
    for command in root.all():
        title = "lightbox " + " ".join(command.path) if command.path else "DESCRIPTION"
        out += [".SH " + escaped(title.upper())]
        if command.path:
            out += [".B " + escaped(command.usage), ".PP"]
        for head, lines in [("", command.about), *command.sections]:
            body = "\n".join(lines).strip("\n")
            if not body:
                continue
            if head not in ("", "Notes"):
                out.append(".SS " + head)
            out += [".nf", *(escaped(line) for line in body.splitlines()), ".fi"]
    out += [".SH FILES", ".TP", ".I /etc/lightbox/board.toml", "What the board has and where things are kept; examples in /usr/share/lightbox/boards.",
            ".TP", ".I /var/lib/lightbox", "What was received, the record of readings, and the models."]
    return "\n".join(out) + "\n"


def bash(root):
    cases = "\n".join(f'        "{" ".join(c.path)}") words="{" ".join([*(k.path[-1] for k in c.children), *c.options])}" ;;' for c in root.all())
    return f"""_lightbox() {{
    local path="" word words=""
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case $word in -*) ;; *) case " {' '.join(' '.join(c.path) + ' |' for c in root.all() if c.path)}" in *" $path${{path:+ }}$word |"*) path="$path${{path:+ }}$word" ;; esac ;; esac
    done
    case "$path" in
{cases}
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
}}
complete -o default -F _lightbox lightbox
"""


def zsh(root):
    return "#compdef lightbox\nautoload -U +X bashcompinit && bashcompinit\n" + bash(root)


def fish(root):
    out = []
    for command in root.all():
        seen = f"'__fish_seen_subcommand_from {command.path[-1]}'" if command.path else "__fish_use_subcommand"
        out += [f"complete -c lightbox -n {seen} -a {child.path[-1]}" for child in command.children]
        out += [f"complete -c lightbox -n {seen} -l {option[2:]}" for option in command.options]
    return "\n".join(out) + "\n"


def main():
    out, date, run = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[4:]
    out.mkdir(parents=True, exist_ok=True)
    version = subprocess.run([*run, "--version"], check=True, capture_output=True, text=True).stdout.split()[1]
    root = Command(run, [])
    (out / "lightbox.1").write_text(roff(root, version, date))
    (out / "lightbox.bash").write_text(bash(root))
    (out / "lightbox.zsh").write_text(zsh(root))
    (out / "lightbox.fish").write_text(fish(root))


main()
