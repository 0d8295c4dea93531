#!/usr/bin/env python3
"""What an environment costs a month, and a million operations: the tables that infra/README.md has, from sizes, table and list prices."""

import json
import re
from pathlib import Path

import yaml

HOURS = 730
SECONDS = HOURS * 3600
# List prices in US dollars in europe-west1 (Belgium), as known in 2025; look them up again before you decide by them.
SQL_CPU, SQL_GB, SQL_SSD_GB, SQL_BACKUP_GB, SQL_SMALL = 0.0413, 0.0070, 0.170, 0.080, 0.0350
REDIS_BASIC_GB, REDIS_HA_GB, REDIS_HA_5_GB = 0.049, 0.064, 0.054
RUN_CPU, RUN_GB, RUN_CPU_IDLE, RUN_MILLION = 0.000024, 0.0000025, 0.0000025, 0.40
RUN_ALWAYS_CPU, RUN_ALWAYS_GB = 0.000018, 0.000002
RULE_HOUR, LB_GB, ARMOR_POLICY, ARMOR_RULE, ARMOR_MILLION = 0.025, 0.008, 5.0, 1.0, 0.75
NAT_HOUR, ADDRESS_HOUR, KMS_SOFTWARE, KMS_HSM, SECRET, SCHEDULER_JOB = 0.0014, 0.005, 0.06, 2.50, 0.06, 0.10
# Besides one with a DATABASE_URL for each process.
ARMOR_POLICIES, ARMOR_RULES, SECRETS = 2, 14, 9
# Measured: see the README.
HEARTBEAT_MICROS, ACQUIRE_MICROS = 136, 515


def sizes(infra, name):
    text = (infra / f"environments/{name}/sizes.auto.tfvars").read_text()
    pairs = dict(re.findall(r"^\s*(\w+) *= *\"?([\w.-]+)\"?$", text, re.M))
    return {key: {"true": True, "false": False}.get(value, value) for key, value in pairs.items()}


def database(size):
    tier, twice = size["tier"], 2 if size["highly_available"] else 1
    if tier == "db-g1-small":
        machine, said = SQL_SMALL * HOURS, f"{SQL_SMALL} × {HOURS} h"
    else:
        cpus, memory = (int(part) for part in tier.split("-")[2:])
        machine = (cpus * SQL_CPU + memory / 1024 * SQL_GB) * HOURS
        said = f"({cpus} × {SQL_CPU} + {memory / 1024:g} GB × {SQL_GB:.4f}) × {HOURS} h"
    disk = int(size["disk_gb"])
    cost = twice * (machine + disk * SQL_SSD_GB) + disk * SQL_BACKUP_GB
    return cost, f"{twice} × ({said} + {disk} GB × {SQL_SSD_GB:.2f}) + backups {disk} GB × {SQL_BACKUP_GB:.2f}"


def redis(size):
    memory = int(size["memory_gb"])
    price = REDIS_BASIC_GB if not size["highly_available"] else REDIS_HA_5_GB if memory >= 5 else REDIS_HA_GB
    return memory * price * HOURS, f"{memory} GB × {price} × {HOURS} h"


def memory_gb(text):
    return int(text[:-2]) / (1024 if text.endswith("Mi") else 1)


def waiting(table, name, size):
    """Instances that are always there."""
    cost, said = 0.0, []
    for function in table["functions"].values():
        least = function["instances"][name][0]
        if size["metrics"]:
            cost += least * SECONDS * ((float(function["cpu"]) + 0.25) * RUN_ALWAYS_CPU + (memory_gb(function["memory"]) + 0.25) * RUN_ALWAYS_GB)
        else:
            cost += least * SECONDS * (float(function["cpu"]) * RUN_CPU_IDLE + memory_gb(function["memory"]) * RUN_GB)
    least = sum(function["instances"][name][0] for function in table["functions"].values())
    if least and size["metrics"]:
        said.append(f"{least} × {SECONDS / 1e6:.3f} M s × (1.25 CPU × {RUN_ALWAYS_CPU:.6f} + 0.5 GB × {RUN_ALWAYS_GB:.6f})")
    return cost, " + ".join(said) or "none waits: they start with the first request"


def worker(table, name, size):
    worker = table["worker"]
    many, extra = worker["instances"][name], 0.25 if size["metrics"] else 0
    cpu, memory = float(worker["cpu"]) + extra, memory_gb(worker["memory"]) + extra
    return many * SECONDS * (cpu * RUN_ALWAYS_CPU + memory * RUN_ALWAYS_GB), (
        f"{many} × {SECONDS / 1e6:.3f} M s × ({cpu:g} CPU × {RUN_ALWAYS_CPU:.6f} + {memory:g} GB × {RUN_ALWAYS_GB:.6f})"
    )


def edge(_):
    # Two forwarding rules are in the price of the first five.
    return RULE_HOUR * HOURS + ARMOR_POLICIES * ARMOR_POLICY + ARMOR_RULES * ARMOR_RULE, (
        f"{RULE_HOUR} × {HOURS} h + {ARMOR_POLICIES} policies × {ARMOR_POLICY:.0f} + {ARMOR_RULES} rules × {ARMOR_RULE:.0f}"
    )


def rest(infra, table, name, size):
    key = KMS_HSM if size["root_in_hardware"] else KMS_SOFTWARE
    instances = table["worker"]["instances"][name] + sum(function["instances"][name][0] for function in table["functions"].values())
    secrets = SECRETS + len(table["functions"]) + 1
    # Three are free.
    schedules = len(json.loads((infra / "jobs.json").read_text())) - 3
    cost = (NAT_HOUR * instances + ADDRESS_HOUR) * HOURS + key + secrets * SECRET + schedules * SCHEDULER_JOB
    return cost, (
        f"NAT ({instances} × {NAT_HOUR} + address {ADDRESS_HOUR}) × {HOURS} h + root {key:.2f} + {secrets} secrets × {SECRET}"
        f" + {schedules} schedules beyond three × {SCHEDULER_JOB:.2f}"
    )


def monthly(infra):
    table = yaml.safe_load((infra / "functions.yaml").read_text())
    for name in ("dev", "staging", "prod"):
        size = sizes(infra, name)
        rows = [
            ("PostgreSQL", *database(size)),
            ("Redis", *redis(size)),
            ("functions that wait", *waiting(table, name, size)),
            ("worker", *worker(table, name, size)),
            ("load balancer, Cloud Armor", *edge(size)),
            ("NAT, root, secrets, schedules", *rest(infra, table, name, size)),
        ]
        yield f"| **{name}** | arithmetic | **{sum(row[1] for row in rows):.0f}** |"
        for what, cost, said in rows:
            yield f"| {what} | {said} | {cost:.2f} |"


def operations():
    gb = 0.5
    for what, micros in (("heartbeats", HEARTBEAT_MICROS), ("acquires with their releases", ACQUIRE_MICROS)):
        calls = 2 if "releases" in what else 1
        cpu = micros * (1.25 * RUN_ALWAYS_CPU + gb * RUN_ALWAYS_GB)
        armor, traffic = calls * ARMOR_MILLION, calls * 3 * LB_GB
        yield f"| {what} | {micros} s × (1.25 × {RUN_ALWAYS_CPU:.6f} + {gb} × {RUN_ALWAYS_GB:.6f}) | {cpu:.4f} | {armor:.2f} | {traffic:.3f} | {cpu + armor + traffic:.2f} |"


def tables(infra):
    yield "| a month | arithmetic | US dollars |\n|---|---|---|\n" + "\n".join(monthly(infra))
    yield (
        "| a million | processors | = | Cloud Armor | load balancer, 3 kB each | US dollars |\n|---|---|---|---|---|---|\n" + "\n".join(operations())
    )


def functions_table(infra):
    table = yaml.safe_load((infra / "functions.yaml").read_text())
    yield "| function | reached at | uses | instances in prod |\n|---|---|---|---|"
    for name, function in table["functions"].items():
        paths = ", ".join(f"`{path}`" for path in function["paths"] if not path.endswith("/*") or path[:-2] not in function["paths"])
        least, most = function["instances"]["prod"]
        yield f"| `{name}` | {paths} | {', '.join(function['uses'])} | {least} to {most} |"


def faults(infra):
    readme = (infra / "README.md").read_text()
    for text in [*tables(infra), "\n".join(functions_table(infra))]:
        if text not in readme:
            yield f"infra/README.md has another table than `scripts/check-infra --costs` prints:\n{text}"


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    print("\n\n".join([*tables(here), "\n".join(functions_table(here))]))
