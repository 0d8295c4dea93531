#!/usr/bin/env python3
"""Checks infra/: that it is well formed, that Google's provider would take it, and that it tells of this platform and no other.

scripts/check-infra starts it with what it needs.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import costs
import modules
import table
import watch

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
ENVIRONMENTS = ("dev", "staging", "prod")
# Nothing is pulled in a test, so that any digest will do; the real ones are looked up as infra/README.md tells.
IMAGES = [f"-var={name}_image=registry.example/{name}@sha256:{'0' * 64}" for name in ("psql", "collector")]


def say(text):
    print(f"-- {text}", flush=True)


def report(faults):
    faults = list(faults)
    for fault in faults:
        print(f"   {fault}")
    return not faults


def stand_ins(folder):
    """Providers that only know what Google's takes, and a configuration that makes terraform start them."""
    overrides = []
    for name in ("google", "random"):
        program = folder / f"terraform-provider-{name}"
        program.write_text(f"#!/bin/sh\nSTANDS_FOR={name} exec {sys.executable} {INFRA}/checks/provider.py\n")
        program.chmod(0o755)
        overrides += [f'"hashicorp/{name}" = "{folder}"']
    configuration = folder / "terraformrc"
    lines = "\n".join(overrides)
    configuration.write_text(f"disable_checkpoint = true\nprovider_installation {{\n dev_overrides {{\n{lines}\n }}\n direct {{}}\n}}\n")
    return os.environ | {"TF_CLI_CONFIG_FILE": str(configuration), "TF_DISABLE_PLUGIN_TLS": "1", "CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1"}


def call(arguments, folder, env):
    done = subprocess.run(arguments, cwd=folder, env=env, capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def with_terraform(tool):
    """Formatting, `validate` for every module and environment, and the tests with the sizes of every environment."""
    good = True
    with tempfile.TemporaryDirectory(prefix="check-infra-") as name:
        folder = Path(name)
        env = stand_ins(folder)
        say("formatting")
        ok, told = call([*tool, "fmt", "-check", "-recursive", "-diff", "."], INFRA, env)
        good &= ok or bool(print(told))
        # A copy, where what must never be destroyed may be, once a test is over.
        copy = folder / "infra"
        shutil.copytree(INFRA, copy, ignore=shutil.ignore_patterns(".terraform*", "__pycache__"))
        for file in copy.glob("modules/*/*.tf"):
            file.write_text(re.sub(r"prevent_destroy = true", "prevent_destroy = false", file.read_text()))
        for place in sorted([*copy.glob("modules/*"), *copy.glob("environments/*")]):
            say(f"validate {place.relative_to(copy)}")
            ok, told = call([*tool, "get", "-no-color"], place, env)
            if ok:
                ok, told = call([*tool, "validate", "-json"], place, env)
                told = "\n".join(
                    f"{fault.get('range', {}).get('filename')}:{fault.get('range', {}).get('start', {}).get('line')}: {fault['summary']} {fault['detail']}"
                    for fault in json.loads(told)["diagnostics"] if "override" not in fault["summary"]
                )
            good &= ok and not told.strip() or bool(print(told))
        for place in sorted(file.parents[1] for file in copy.glob("modules/*/tests/*.tftest.hcl") if "platform" not in file.parts):
            say(f"test {place.relative_to(copy)}")
            ok, told = call([*tool, "test", "-no-color"], place, env)
            print("\n".join(line for line in told.splitlines() if re.search(r"^  run |^Success|^Failure", line)))
            good &= ok or bool(print(told))
        for name in ENVIRONMENTS:
            say(f"test with the sizes of {name}")
            sizes = [f"-var-file=../../environments/{name}/{file}" for file in ("sizes.auto.tfvars", "terraform.tfvars")]
            ok, told = call([*tool, "test", "-no-color", *sizes, f"-var=environment={name}", *IMAGES], copy / "modules/platform", env)
            print("\n".join(line for line in told.splitlines() if re.search(r"^  run |^Success|^Failure", line)))
            good &= ok or bool(print(told))
    return good


def main():
    good = True
    say("the table of functions, the OpenAPI document, settings and schedules")
    good &= report(table.faults(ROOT))
    say("dashboards, alerts and workflows")
    good &= report(watch.faults(ROOT))
    say("costs")
    good &= report(costs.faults(INFRA))
    say("resources, by what Google's provider knows of them")
    good &= report(modules.faults(INFRA))
    tool = shutil.which("tofu") or shutil.which("terraform")
    good &= with_terraform([tool] if tool else [sys.executable, str(INFRA / "checks/terraform.py")])
    say("promtool")
    for arguments in (["check", "rules", INFRA / "alerts.yaml"], ["test", "rules", INFRA / "checks/alerts-test.yaml"]):
        ok, told = call(["promtool", *arguments], ROOT, None)
        print(told.strip())
        good &= ok
    say("checkov")
    done = subprocess.run([Path(sys.executable).parent / "checkov", "--directory", INFRA / "modules", "--framework", "terraform", "--quiet",
                           "--compact", "--download-external-modules", "false"], cwd=ROOT, env=os.environ | {"LOG_LEVEL": "ERROR"})
    good &= done.returncode == 0
    print("infra is fine" if good else "infra has faults")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
