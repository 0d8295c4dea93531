#!/usr/bin/env python3
"""Makes schema.json: what Google's provider knows of the resource types that the modules use, read from the typings of an npm package.

usage: schema.py FOLDER TYPE…    FOLDER is where `npm pack @cdktf/provider-google` was unpacked, TYPE a resource or data.TYPE
"""

import json
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"export interface (\w+)(?: extends [\w.]+)? \{(.*?)^\}", re.S | re.M)
FIELD = re.compile(r"(/\*\*(?:[^*]|\*(?!/))*\*/)?\s*readonly (\w+)(\?)?: ((?:\{[^}]*\}|[^;])+);")
CLASS = re.compile(r"export declare class (\w+) extends cdktf\.(Terraform(?:Resource|DataSource)|ComplexObject) \{(.*?)^\}", re.S | re.M)
GETTER = re.compile(r"^    get (\w+)\(\): ([^;]+);", re.M)
META = {"fqn", "connection", "count", "dependsOn", "forEach", "lifecycle", "provider", "provisioners", "node"}


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def primitive(kind):
    if kind.startswith("{"):
        return ["map", "string"]
    word = kind.split("|")[0].strip()
    word, lists = word.rstrip("[]"), word.count("[]")
    name = {"string": "string", "number": "number", "boolean": "bool"}.get(word)
    if name is None and "{" in word:
        return ["map", "string"]
    for _ in range(lists):
        name = name and ["list", name]
    return name


def read(text):
    """The schema of one typings file."""
    interfaces = dict(BLOCK.findall(text))
    classes = {name: body for name, _, body in CLASS.findall(text)}

    def computed(body, known, depth=0):
        """What can be read, but not said."""
        found = {}
        for name, kind in GETTER.findall(body):
            attribute = snake(name)
            if name in META or name.endswith("Input") or name == "internalValue" or attribute in known:
                continue
            kind = kind.strip()
            if kind.endswith("List") or kind.endswith("OutputReference"):
                inner = classes.get(kind.removesuffix("List") + "OutputReference" if kind.endswith("List") else kind, "")
                fields = computed(inner, {}, depth + 1) if depth < 4 else {}
                found[attribute] = ["list", ["object", {field: value["type"] for field, value in fields.items()}]]
            elif "cdktf.StringMap" in kind or kind.endswith("Map"):
                found[attribute] = ["map", "string"]
            elif (plain := primitive(kind)) is not None:
                found[attribute] = plain
            else:
                found[attribute] = "dynamic"
        return {name: {"type": kind, "computed": True} for name, kind in found.items()}

    def block(interface, body):
        schema = {"attributes": {}, "blocks": {}}
        for comment, name, optional, kind in FIELD.findall(body):
            link = re.search(r"#([a-z0-9_]+) \w+#", comment or "")
            attribute, kind = (link.group(1) if link else snake(name)), kind.strip()
            word = kind.split("|")[0].strip()
            inner = word.removesuffix("[]")
            if inner in interfaces:
                nested = block(inner, interfaces[inner])
                nesting = "single" if attribute == "timeouts" else "list"
                schema["blocks"][attribute] = nested | {
                    "required": not optional, "many": word.endswith("[]"), "nesting": nesting,
                }
            else:
                schema["attributes"][attribute] = {"type": primitive(kind) or "dynamic", "required": not optional}
        known = set(schema["attributes"]) | set(schema["blocks"])
        reference = interface.removesuffix("Config") if interface.endswith("Config") and interface.removesuffix("Config") in classes else interface + "OutputReference"
        schema["attributes"] |= computed(classes.get(reference, ""), known)
        return schema

    top = next(name for name in interfaces if re.search(rf"interface {name} extends", text))
    return block(top, interfaces[top])


def main():
    folder, types = Path(sys.argv[1]), sys.argv[2:]
    found = {}
    for kind in sorted(set(types)):
        name = kind.removeprefix("data.").removeprefix("google_")
        path = folder / "lib" / (("data-google-" if kind.startswith("data.") else "") + name.replace("_", "-")) / "index.d.ts"
        if not path.exists():
            sys.exit(f"{kind}: Google's provider has no such type")
        found[kind] = read(path.read_text())
    version = re.search(r"hashicorp/google/([\d.]+)/", (folder / "lib/provider/index.d.ts").read_text()).group(1)
    json.dump({"provider": version, "types": found}, sys.stdout, indent=1, sort_keys=True)
    print()


if __name__ == "__main__":
    main()
