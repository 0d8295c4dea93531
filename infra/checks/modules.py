"""Reads every module and holds each resource to what Google's provider knows of it. Where terraform is to be had, it does more: see run.py."""

import json
import warnings

import hcl2

META = {"count", "for_each", "depends_on", "lifecycle", "provider", "provisioner", "connection"}
PARSER = {"__start_line__", "__end_line__", "dynamic"}
OTHER_PROVIDERS = ("random_",)


def listed(value):
    return value if isinstance(value, list) else [value]


def within(body, schema, where, meta=frozenset()):
    """Attributes and blocks that the schema does not have, and required ones that are missing."""
    said = {name for name in body if name not in PARSER | meta}
    dynamic = {name: inner for entry in listed(body.get("dynamic", [])) for name, inner in entry.items()}
    for name in sorted(said | set(dynamic)):
        if name not in schema["attributes"] and name not in schema["blocks"]:
            yield f"{where} has no {name}"
        elif schema["attributes"].get(name, {}).get("computed"):
            yield f"{where}: {name} is told by Google, and not to be set"
        elif name in schema["blocks"]:
            bodies = listed(body[name]) if name in body else listed(dynamic[name]["content"])
            for inner in bodies:
                if isinstance(inner, dict):
                    yield from within(inner, schema["blocks"][name], f"{where}.{name}")
    for kind in ("attributes", "blocks"):
        for name, value in schema[kind].items():
            if value.get("required") and name not in said and name not in dynamic:
                yield f"{where} lacks {name}"


def faults(infra):
    warnings.simplefilter("ignore")
    types = json.loads((infra / "checks/schema.json").read_text())["types"]
    for file in sorted([*infra.glob("modules/*/*.tf"), *infra.glob("environments/*/*.tf")]):
        where = file.relative_to(infra)
        if 'google_project_service.main["' in file.read_text():
            yield f"{where} waits for one API alone, where all are meant"
        try:
            parsed = hcl2.loads(file.read_text())
        except Exception as error:
            yield f"{where} cannot be read: {error}"
            continue
        for prefix, kind in (("", "resource"), ("data.", "data")):
            for entry in parsed.get(kind, []):
                for resource, named in entry.items():
                    if resource.startswith(OTHER_PROVIDERS):
                        continue
                    schema = types.get(prefix + resource)
                    for name, body in named.items():
                        if schema is None:
                            yield f"{where}: nothing is known of {prefix}{resource}: see infra/checks/README.md"
                        else:
                            yield from within(body, schema, f"{where}: {resource}.{name}", META)
        for entry in parsed.get("variable", []):
            for name, body in entry.items():
                if "type" not in body or "description" not in body:
                    yield f"{where}: the variable {name} has no type or no description"
                if file.parent.parent.name == "modules" and f"`{name}`" not in (file.parent / "README.md").read_text():
                    yield f"{where}: README.md does not tell of the variable {name}"
