"""Checks a compose file's structure where no container engine is: references, ports, variables.

Usage: check_compose.py docker-compose.yml
Prints each finding and exits 1 if there is any. `docker compose config` says more, where it can be had.
"""

import re
import sys

import yaml

# `$$`, `$NAME`, or `${NAME}` with one of compose's operators.
VARIABLE = re.compile(r"\$(?:\$|[A-Za-z_]\w*|\{[A-Za-z_]\w*(?::?[-?+][^{}]*)?\})")


def scalars(node):
    if isinstance(node, dict):
        for key, value in node.items():
            yield from scalars(key)
            yield from scalars(value)
    elif isinstance(node, list):
        for value in node:
            yield from scalars(value)
    else:
        yield str(node)


def findings(document):
    services = document.get("services") or {}
    if not services:
        yield "there are no services"
    unknown = set(document) - {"name", "services", "volumes", "networks", "configs", "secrets"}
    if unknown:
        yield f"unknown at the top: {', '.join(sorted(unknown))}"
    volumes = set(document.get("volumes") or {})
    for name, service in services.items():
        if not {"image", "build"} & set(service):
            yield f"{name}: has neither image nor build"
        wanted = service.get("depends_on") or {}
        for other in wanted:
            condition = wanted[other].get("condition") if isinstance(wanted, dict) else None
            if other not in services:
                yield f"{name}: depends on {other}, which is no service"
            elif condition == "service_healthy" and not {"healthcheck", "build"} & set(services[other]):
                yield f"{name}: waits for {other} to be healthy, which has no healthcheck"
        for volume in service.get("volumes") or []:
            source = str(volume).split(":")[0]
            if re.fullmatch(r"[\w.-]+", source) and not source.startswith(".") and source not in volumes:
                yield f"{name}: volume {source} is not declared"
    for text in scalars(document):
        if "$" in VARIABLE.sub("", text):
            yield f"a variable that can't be read: {text}"


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        document = yaml.safe_load(file)
    found = list(findings(document))
    for finding in found:
        print(f"{sys.argv[1]}: {finding}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
