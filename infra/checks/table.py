"""Holds infra/functions.yaml and jobs.json to the OpenAPI document, the crates and their settings."""

import json
import re

import yaml

# For psql, and so in no settings of ours.
NOT_OURS = {"ON_ERROR_STOP"}
# Lets a login ask who somebody is.
AUTHENTICATOR = "coditect_authenticator"
USES = {"redis", "sealing", "tokens", "root"}


def owner(path, functions):
    """The function that the load balancer sends a path to: an exact path first, then the longest that ends in *."""
    best = (-1, None)
    for name, function in functions.items():
        for pattern in function["paths"]:
            exact = path == pattern
            under = pattern.endswith("/*") and path.startswith(pattern[:-1])
            if exact or under:
                best = max(best, (len(path) + 1 if exact else len(pattern), name), key=lambda found: found[0])
    return best[1]


def faults(root):
    table = yaml.safe_load((root / "infra/functions.yaml").read_text())
    functions = table["functions"]
    document = json.loads((root / "functions/discovery/openapi.json").read_text())
    crates = {path.parent.parent.name for path in root.glob("functions/*/src/main.rs")} - {"standalone"}

    for name in sorted(crates ^ set(functions)):
        yield f"functions.yaml and functions/ differ: {name}"
    for path in document["paths"]:
        name = owner(path, functions)
        if name is None:
            yield f"functions.yaml has nobody for {path}, which the OpenAPI document has"
        elif name in crates and not serves(root, name, path):
            yield f"{path} goes to {name}, whose sources do not name it"
    asked = list(document["paths"])
    for name, function in functions.items():
        for pattern in function["paths"]:
            if not any(path == pattern or pattern.endswith("/*") and path.startswith(pattern[:-1]) for path in asked):
                yield f"functions.yaml sends {pattern} to {name}, and the OpenAPI document has no such path"

    for name, process in [*functions.items(), ("worker", table["worker"])]:
        for use in set(process["uses"]) - USES:
            yield f"{name} uses {use}, which settings.tf does not know"
        # Each role is a pool of its own, but that which is taken on for one statement at a time.
        if process["pools"] < len(set(process["roles"]) - {AUTHENTICATOR}):
            yield f"{name} has fewer pools than roles"
        if ("tokens" in process["uses"]) != (AUTHENTICATOR in process["roles"]):
            yield f"{name} must have {AUTHENTICATOR} if it uses tokens, and only then"
    yield from settings(root)
    yield from jobs(root)
    yield from environments(root)


def serves(root, name, path):
    sources = "".join(file.read_text() for file in (root / "functions" / name / "src").rglob("*.rs"))
    return f'"{path}"' in sources


def settings(root):
    """Every variable that is set is one that a program reads, and every one that a program must have is set."""
    sources = "".join(file.read_text() for file in root.glob("[fjs]*/**/src/**/*.rs"))
    read = set(re.findall(r'env = "([A-Z_0-9]+)"', sources))
    text = "".join((root / "infra/modules" / file).read_text() for file in ("platform/settings.tf", "platform/main.tf", "worker/main.tf"))
    said = set(re.findall(r"\b([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)\b *=", text)) | set(re.findall(r'name += "([A-Z_0-9]+)"', text))
    said = {name for name in said if not name.startswith("PG")}
    for name in sorted(said - read - NOT_OURS):
        yield f"infra sets {name}, which no program reads"
    for name in ("DATABASE_URL", "DATABASE_CA_FILE", "DATABASE_POOL_SIZE", "REDIS_URL", "REDIS_CA_FILE", "GOOGLE_CLOUD_PROJECT", "SEALING_KEY",
                 "KMS_KEY_VERSION", "PUBSUB_SUBSCRIPTION", "GOOGLE_IDENTITY_PROJECT", "STAFF_ISSUERS", "TRUSTED_PROXY_HOPS", "LIMIT_ANONYMOUS_PER_HOUR",
                 "LIMIT_PRINCIPAL_PER_HOUR", "LIMIT_PUBLIC_PER_HOUR", "CORS_ORIGINS", "SENTRY_DSN"):
        if name not in read:
            yield f"no program reads {name} any more"
        if name not in said:
            yield f"infra does not set {name}"


def jobs(root):
    """What the table of the jobs says, as far as the sources tell; a test of the jobs holds the file to `jobs list --json` to the letter."""
    listed = json.loads((root / "infra/jobs.json").read_text())
    sources = "".join(file.read_text() for file in (root / "jobs/src/jobs").glob("*.rs"))
    for name in sorted(set(re.findall(r'^    name: "([a-z-]+)"', sources, re.M)) ^ {job["job"] for job in listed}):
        yield f"jobs.json and the table of the jobs differ: {name}"
    for job in listed:
        if f'"{job["summary"]}"' not in sources:
            yield f"jobs.json does not say of {job['job']} what the table says"


def environments(root):
    """Environments differ in sizes and names only."""
    first = root / "infra/environments/dev"
    for name in ("staging", "prod"):
        for file in ("main.tf", "variables.tf"):
            if (first / file).read_bytes() != (root / "infra/environments" / name / file).read_bytes():
                yield f"environments/{name}/{file} is not the one of dev"
