#!/usr/bin/env python3
"""Says what the program is made of: a bill of materials (CycloneDX 1.5, JSON) and the licences of everything in it.

    contents.py OUT TRIPLE DATE SHA256     DATE in seconds since 1970; SHA256 of the program
"""

import json
import pathlib
import subprocess
import sys
import time
import uuid


def linked(metadata):
    """The packages that end up in the program, without those that only build it or test it."""
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = next(package["id"] for package in metadata["packages"] if package["name"] == "lightbox")
    found, todo = {}, [root]
    while todo:
        identity = todo.pop()
        if identity in found:
            continue
        found[identity] = sorted(dep["pkg"] for dep in nodes[identity]["deps"] if any(kind["kind"] is None for kind in dep["dep_kinds"]))
        todo += found[identity]
    return root, found


def main():
    out, triple, date, digest = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    command = ["cargo", "metadata", "--locked", "--format-version=1", f"--filter-platform={triple}"]
    metadata = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    packages = {package["id"]: package for package in metadata["packages"]}
    root, found = linked(metadata)
    url = lambda package: f"pkg:cargo/{package['name']}@{package['version']}"
    order = sorted(found, key=lambda identity: (packages[identity]["name"], packages[identity]["version"]))

    def component(identity, kind):
        package = packages[identity]
        said = {"type": kind, "bom-ref": url(package), "name": package["name"], "version": package["version"], "purl": url(package)}
        if package["license"]:
            said["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
        return said

    program = component(root, "application") | {"hashes": [{"alg": "SHA-256", "content": digest}]}
    bill = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, digest)}",
        "metadata": {"timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(date)), "component": program},
        "components": [component(identity, "library") for identity in order if identity != root],
        "dependencies": [{"ref": url(packages[identity]), "dependsOn": sorted({url(packages[dep]) for dep in found[identity]})} for identity in order],
    }
    (out / "lightbox.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")

    texts, lines = {}, ["Programs of others that are part of this one, with their licences.", ""]
    for identity in order:
        package = packages[identity]
        if identity == root:
            continue
        lines.append(f"{package['name']} {package['version']}: {package['license'] or 'see its files'}")
        folder = pathlib.Path(package["manifest_path"]).parent
        for path in sorted(folder.iterdir()):
            if path.is_file() and path.name.upper().startswith(("LICENSE", "LICENCE", "COPYING", "NOTICE", "UNLICENSE")):
                text = path.read_text(errors="replace").strip()
                texts.setdefault(text, []).append(f"{package['name']} {package['version']} ({path.name})")
    for text, users in sorted(texts.items(), key=lambda item: item[1]):
        lines += ["", "-" * 100, "Of " + ", ".join(users) + ":", "", text]
    (out / "third-party-licences.txt").write_text("\n".join(lines) + "\n")


main()
