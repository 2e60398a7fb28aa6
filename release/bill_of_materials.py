"""A bill of materials beside a wheel, as CycloneDX 1.6: what it needs, in the versions that it was tested with.

    python release/bill_of_materials.py dist/alexnet-0.2.0-py3-none-any.whl

What every installation needs has the scope "required", what the extra `all` adds "optional". A package that is not
installed here has the version of the constraints, and nothing is said of what it needs. Two runs write equal bytes.
"""

import hashlib
import json
import sys
import zipfile
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, PathDistribution, distribution
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def describe(wheel: Path) -> dict[str, Any]:
    """The document, ready for JSON."""
    entry = next(path for path in zipfile.Path(wheel).iterdir() if path.name.endswith(".dist-info"))
    product = PathDistribution(entry)
    components: dict[str, dict[str, Any]] = {}
    edges: dict[str, set[str]] = {}

    def add(owner: str, requirements: Iterable[Requirement], scope: str) -> None:
        for requirement in requirements:
            found = _find(requirement.name)
            component = _component(requirement.name, found)
            reference = component["bom-ref"]
            edges.setdefault(owner, set()).add(reference)
            is_new = reference not in components
            components.setdefault(reference, {**component, "scope": scope})
            edges.setdefault(reference, set())
            if found is not None and (is_new or requirement.extras):
                add(reference, _requirements(found, requirement.extras), scope)

    root = f"pkg:pypi/{canonicalize_name(product.name)}@{product.version}"
    add(root, _requirements(product, ()), "required")
    add(root, _requirements(product, _extras(product)), "optional")
    hashes = [{"alg": "SHA-256", "content": hashlib.sha256(wheel.read_bytes()).hexdigest()}]
    itself = {**_component(product.name, product), "type": "application", "hashes": hashes}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": itself},
        "components": [components[reference] for reference in sorted(components)],
        "dependencies": [{"ref": each, "dependsOn": sorted(edges[each])} for each in sorted(edges)],
    }


def _requirements(owner: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    """What a distribution needs on this machine, with these extras."""
    for text in owner.requires or ():
        requirement = Requirement(text)
        is_wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        )
        if is_wanted and canonicalize_name(requirement.name) != canonicalize_name(owner.name):
            yield requirement


def _extras(product: Distribution) -> set[str]:
    """The extras that the extra `all` names."""
    own = (Requirement(text) for text in product.requires or ())
    wanted = (
        each for each in own if each.name == product.name and each.marker and each.marker.evaluate({"extra": "all"})
    )
    return {extra for each in wanted for extra in each.extras}


def _find(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _component(name: str, found: Distribution | None) -> dict[str, Any]:
    version = found.version if found is not None else _read_pins().get(canonicalize_name(name))
    address = f"pkg:pypi/{canonicalize_name(name)}" + (f"@{quote(version)}" if version else "")
    component: dict[str, Any] = {"type": "library", "bom-ref": address, "name": name, "purl": address}
    if version:
        component["version"] = version
    if licence := _read_licence(found):
        component["licenses"] = licence
    return component


def _read_licence(found: Distribution | None) -> list[dict[str, Any]]:
    """The licence's expression, or the names that the classifiers give."""
    if found is None:
        return []
    if "License-Expression" in found.metadata:
        return [{"expression": found.metadata["License-Expression"]}]
    classifiers = found.metadata.get_all("Classifier") or ()
    names = [each.rpartition(" :: ")[2] for each in classifiers if each.startswith("License :: ")]
    return [{"license": {"name": name}} for name in names]


def _read_pins() -> dict[str, str]:
    """Versions of constraints.txt and, where only it has them, of constraints-extras.txt."""
    pins: dict[str, str] = {}
    for file in ("constraints-extras.txt", "constraints.txt"):
        lines = (line.split("#")[0].strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines())
        pins |= {
            canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines if line)
        }
    return pins


if __name__ == "__main__":
    wheel = Path(sys.argv[1])
    name, version = wheel.name.split("-")[:2]
    out = wheel.with_name(f"{name}-{version}.cdx.json")
    out.write_text(json.dumps(describe(wheel), indent=1) + "\n", encoding="utf-8")
    print(out)
