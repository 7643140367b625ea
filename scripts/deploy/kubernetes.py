"""kubernetes.py FOLDER [RENDERED...]: every resource below FOLDER, and in each file that kustomize rendered, has the fields that its
kind has and no other, and every kustomization names every file beside it. Kubernetes' own kinds are held against its schemas, KEDA's and
the Prometheus operator's against models made of theirs. Each is shown a misspelt field too, which it has to find."""

import copy
import pathlib
import re
import sys

import kubernetes_validate
import pydantic
import yaml
from cloudcoil.models.keda.v1alpha1 import ScaledObject, TriggerAuthentication
from cloudcoil.models.prometheus_operator.v1 import PodMonitor, PrometheusRule

# The oldest release that is promised to take them, and the newest that there is a schema of.
RELEASES = ["1.31", "1.37"]
CUSTOM = {model.__name__: model for model in (ScaledObject, TriggerAuthentication, PodMonitor, PrometheusRule)}
# A patch is a part of a resource, without what the whole one must have.
PATCHES = {"worker.yaml", "dashboard.yaml"}
RENDERED = "rendered "


def unknown(given, understood, path=""):
    """Paths of what was given and not understood: unknown fields, and values of another type that were made to fit."""
    if isinstance(given, dict) and isinstance(understood, dict):
        for key, value in given.items():
            if key not in understood:
                yield f"{path}.{key}"
            else:
                yield from unknown(value, understood[key], f"{path}.{key}")
    elif isinstance(given, list) and isinstance(understood, list) and len(given) == len(understood):
        for index, (one, other) in enumerate(zip(given, understood)):
            yield from unknown(one, other, f"{path}[{index}]")
    elif given != understood or type(given) is not type(understood):
        yield path


def problem(resource):
    """What is wrong with it, or None."""
    model = CUSTOM.get(resource["kind"])
    if model is None:
        for release in RELEASES:
            try:
                kubernetes_validate.validate(resource, release, strict=True)
            except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
                return f"Kubernetes {release}: {error}"
        return None
    try:
        understood = model.model_validate(resource).model_dump(mode="json", by_alias=True, exclude_unset=True)
    except pydantic.ValidationError as error:
        return str(error)
    return "; ".join(f"{path} is unknown" for path in unknown(resource, understood)) or None


def misspelt(resource):
    """Copies with a field that does not exist, at the top of the spec and at its deepest."""
    part = "spec" if "spec" in resource else "metadata"
    top = copy.deepcopy(resource)
    top[part]["misspelt"] = 1
    deep = copy.deepcopy(resource)
    place, deepest = [(deep[part], 0)], (deep[part], 0)
    while place:
        value, depth = place.pop()
        children = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        place += [(child, depth + 1) for child in children]
        # Maps of texts take any key: of the rest, those that hold more than texts.
        if isinstance(value, dict) and depth >= deepest[1] and any(isinstance(child, (dict, list, int)) for child in value.values()):
            deepest = (value, depth)
    deepest[0]["misspelt"] = 1
    return top, deep


def listed(kustomization):
    """File names that it reads."""
    held = yaml.safe_load(kustomization.read_text())
    yield from held.get("resources", [])
    yield from (patch["path"] for patch in held.get("patches", []) if "path" in patch)
    for generator in held.get("configMapGenerator", []):
        yield from generator["files"]


def main(folder, rendered):
    problems, checked = [], 0

    def check(where, text, whole):
        nonlocal checked
        for resource in filter(None, yaml.safe_load_all(text)):
            found = problem(resource)
            name = f"{where}: {resource['kind']} {resource['metadata']['name']}"
            if found and (whole or not re.search("required property|Field required", found)):
                problems.append(f"{name}: {found}")
            if str(where).startswith(RENDERED) and resource["kind"] != "Namespace" and "namespace" not in resource["metadata"]:
                problems.append(f"{name}: it has no namespace")
            problems.extend(f"{name}: a misspelt field was not found" for wrong in misspelt(resource) if not problem(wrong))
            checked += 1

    for kustomization in sorted(pathlib.Path(folder).rglob("kustomization.yaml")):
        beside = {file.name for file in kustomization.parent.iterdir()} - {"kustomization.yaml"}
        names = set(listed(kustomization))
        local = {name for name in names if not name.startswith("../")}
        if beside != local:
            problems.append(f"{kustomization}: it lists {sorted(local)}, and beside it are {sorted(beside)}")
        problems.extend(f"{kustomization}: {name} is not there" for name in names if not (kustomization.parent / name).exists())
        is_component = "Component" in kustomization.read_text()
        for name in sorted(beside - {"settings.yaml"}):
            file = kustomization.parent / name
            check(file, file.read_text(), whole=not (is_component and name in PATCHES))
    for file in rendered:
        check(f"{RENDERED}{pathlib.Path(file).stem}", pathlib.Path(file).read_text(), whole=True)
    for line in problems:
        print(f"check-deploy: {line}", file=sys.stderr)
    if problems or checked < 15:
        sys.exit(f"check-deploy: kubernetes: {len(problems)} problems in {checked} resources")
    print(f"check-deploy: kubernetes: passed ({checked} resources, {len(rendered)} rendered)")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
