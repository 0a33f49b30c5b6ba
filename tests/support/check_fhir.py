"""Checks a FHIR Bundle: every resource against fhir.resources' models of release 4B (types, cardinalities, no unknown
elements), codes against the value sets that R4 requires, and that every reference leads to an entry. Prints how many
resources of each type there are, as JSON."""

import collections
import json
import re
import sys

from fhir.resources.R4B.bundle import Bundle

REQUIRED = {
    ("DiagnosticReport", "status"): "registered partial preliminary final amended corrected appended cancelled "
    "entered-in-error unknown",
    ("Observation", "status"): "registered preliminary final amended corrected cancelled entered-in-error unknown",
    ("Device", "status"): "active inactive entered-in-error unknown",
}
UUID = re.compile(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

text = open(sys.argv[1], encoding="utf-8").read()
bundle = Bundle.model_validate_json(text)
plain = json.loads(text)


def references(value):
    if isinstance(value, dict):
        if "reference" in value:
            yield value["reference"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        assert value, "an empty list"
        for inner in value:
            yield from references(inner)
    else:
        assert value not in (None, ""), "an empty value"


urls = [entry["fullUrl"] for entry in plain.get("entry", [])]
assert len(urls) == len(set(urls)), "an entry twice"
counts = collections.Counter()
for entry in plain.get("entry", []):
    resource = entry["resource"]
    counts[resource["resourceType"]] += 1
    assert UUID.fullmatch(entry["fullUrl"]) and entry["fullUrl"].endswith(resource["id"]), entry["fullUrl"]
    for (kind, element), codes in REQUIRED.items():
        if kind == resource["resourceType"]:
            assert resource[element] in codes.split(), resource[element]
    for reference in references(resource):
        assert reference in urls, reference
print(json.dumps(counts, sort_keys=True))
