"""Holds dashboards, alert rules and workflows to what there is: metrics to those that are registered, log lines to the sources."""

import json
import re

import yaml

# Google's metrics that the dashboards and alerts go by.
SUFFIXES = ("_total", "_bucket", "_sum", "_count", "")


def registered(root):
    """Metric names as the page shows them."""
    names = set()
    for file in [*root.glob("shared/platform/src/**/*.rs"), *root.glob("jobs/src/**/*.rs"), *root.glob("functions/*/src/**/*.rs")]:
        text = file.read_text()
        names |= set(re.findall(r'register\(\s*"(coditect_\w+)"', text))
        names |= {f"{name}_seconds" for name in re.findall(r'register_with_unit\(\s*"(coditect_\w+)"', text)}
        names |= {name for name in re.findall(r'"(coditect_[a-z_]+)"', text) if name.startswith("coditect_database_connections")}
    return names


def known(metric, names):
    return any(metric.endswith(suffix) and metric.removesuffix(suffix) in names for suffix in SUFFIXES)


def faults(root):
    names = registered(root)
    grafana = json.loads((root / "infra/dashboards/grafana.json").read_text())
    for panel in grafana["panels"]:
        if panel["type"] == "row":
            continue
        expressions = [target["expr"] for target in panel["targets"]]
        metrics = {metric for expression in expressions for metric in re.findall(r"coditect_\w+", expression)}
        if not metrics:
            yield f"the panel {panel['title']} shows no metric"
        for metric in sorted(metrics):
            if not known(metric, names):
                yield f"the panel {panel['title']} shows {metric}, which nothing registers"
    rules = yaml.safe_load((root / "infra/alerts.yaml").read_text())
    for rule in [rule for group in rules["groups"] for rule in group["rules"]]:
        for metric in re.findall(r"coditect_\w+", rule["expr"]):
            if not known(metric, names):
                yield f"the alert {rule['alert']} goes by {metric}, which nothing registers"
        file = rule["annotations"]["runbook"].split(",")
        if file[1].strip() not in (root / file[0]).read_text():
            yield f"the alert {rule['alert']} sends to {rule['annotations']['runbook']}, which is not there"
    yield from ours(grafana, rules)
    yield from log_lines(root)
    yield from workflows(root)


def ours(grafana, rules):
    """`job` is whom Prometheus scrapes; a page says `job_name`. A rule that asks `job` for the name of one of ours would never be met."""
    said = {panel["title"]: target["expr"] for panel in grafana["panels"] for target in panel.get("targets", [])}
    said |= {rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]}
    for name, expression in said.items():
        if re.search(r"(?<![\w-])job\s*(=|!|,|\))", expression):
            yield f"{name} goes by the label job, which is the scrape's: the page's is job_name"


def log_lines(root):
    """What log-based metrics count is logged."""
    filters = (root / "infra/modules/observability/behind.tf").read_text()
    sources = "".join(file.read_text() for file in (root / "jobs/src").rglob("*.rs"))
    counted = set(re.findall(r"^    ([a-z-]+) += \{ filter = ", filters, re.M))
    shown = (root / "infra/dashboards/cloud-monitoring.json").read_text()
    for metric in sorted(set(re.findall(r"logging\.googleapis\.com/user/\$\{name\}/([a-z-]+)", shown)) - counted):
        yield f"the dashboard of Cloud Monitoring shows {metric}, which nothing counts"
    for line in re.findall(r'jsonPayload\.message[=:]\\"([^"\\]+)\\"', filters):
        if line not in sources:
            yield f"nothing logs what a metric counts: {line}"


def workflows(root):
    """Actions are pinned by their commit, and no key is in sight."""
    for file in sorted(root.glob(".github/workflows/*.yaml")):
        text = file.read_text()
        yaml.safe_load(text)
        for action in re.findall(r"uses: (\S+)", text):
            if not re.fullmatch(r"\./\S+|[\w./-]+@[0-9a-f]{40}", action):
                yield f"{file.name} uses {action}, which is not pinned by its commit"
        if re.search(r"credentials_json|service_account_key|secrets\.GC", text):
            yield f"{file.name} uses a key"
        for script in re.findall(r"(?:\./)?(scripts/[\w/-]+)", text):
            if not (root / script).exists():
                yield f"{file.name} calls {script}, which is not there"
