#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Judges generated YAML by the rules it must obey: Istio's CRD schemas and their CEL rules, what istiod's
webhook and the analyzers refuse beyond them (H*, S*, D*, IST*), and the product's own contract.

Owns: those rules, as an oracle that shares nothing with the generator. Must not know: how the YAML came to be.

Run as a test it judges every tests/golden/generate/*.expected, and what `generate` prints for every input
there under all options that change the objects. Before that it must refuse a list of bad documents: a judge
that accepts anything proves nothing. hostile.py uses it as a module.

EA_SHARED	the folder that has istio-crds/ (default: ../shared beside the repository)
EGRESS_AGENT	the binary (default: build/egress-agent)
"""
import copy
import itertools
import os
import pathlib
import re
import subprocess
import sys

import yaml

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
SHARED = pathlib.Path(os.environ.get("EA_SHARED", REPO.parent / "shared"))
BINARY = pathlib.Path(os.environ.get("EGRESS_AGENT", REPO / "build/egress-agent")).resolve()
CRDS = {"v1.18.0": ["v1beta1"], "v1.30.3": ["v1", "v1beta1"]}
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
HOST_LABEL = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9]*[a-zA-Z0-9])?")
ANNOTATIONS = {
    "egress-agent/workloads": re.compile(r"[ -~]+"),
    "egress-agent/connections": re.compile(r"[0-9]+"),
    "egress-agent/requests": re.compile(r"[0-9]+"),
    "egress-agent/first-seen": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
    "egress-agent/last-seen": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"),
}


class Bad(Exception):
    """A rule is broken; the text says which and where."""


def need(condition, rule, what=""):
    if not condition:
        raise Bad(f"{rule}: {what}" if what else rule)


# ---- the CRD schemas: structural OpenAPI v3 and CEL -----------------------------------------

# Every CEL rule of the two CRDs that can be met on our fields or beside them, by its text.
CEL = {
    'self != "*"': lambda v: v != "*",
    "0 < self && self <= 65535": lambda v: 0 < v <= 65535,
    "self.all(l1, self.exists_one(l2, l1.number == l2.number))":
        lambda v: len({p["number"] for p in v}) == len(v),
    "(has(self.workloadSelector) ? 1 : 0) + (has(self.endpoints) ? 1 : 0) <= 1":
        lambda v: ("workloadSelector" in v) + ("endpoints" in v) <= 1,
    '!((has(self.addresses) ? self.addresses : []).exists(k, k.contains("/")) && '
    '!((has(self.resolution) ? self.resolution : "NONE") in ["STATIC", "NONE"]))':
        lambda v: not any("/" in a for a in v.get("addresses", []))
        or v.get("resolution", "NONE") in ("STATIC", "NONE"),
    '((has(self.resolution) ? self.resolution : "NONE") == "NONE") ? !has(self.endpoints) : true':
        lambda v: v.get("resolution", "NONE") != "NONE" or "endpoints" not in v,
    '((has(self.resolution) ? self.resolution : "") == "DNS_ROUND_ROBIN") ? '
    '((has(self.endpoints) ? self.endpoints : []).size() <= 1) : true':
        lambda v: v.get("resolution") != "DNS_ROUND_ROBIN" or len(v.get("endpoints", [])) <= 1,
}
# What Schema.check() looks at; a keyword that is not here stops the test instead of being skipped.
KEYWORDS = {
    "type", "properties", "additionalProperties", "required", "enum", "items", "nullable", "minItems",
    "maxItems", "maxLength", "maxProperties", "minimum", "maximum", "description", "format",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
}
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": float}


class Schema:
    """One version of one CRD."""

    def __init__(self, crd, version, root):
        self.name = f"{crd} {version}"
        self.root = root

    def validate(self, document):
        body = {k: v for k, v in document.items() if k not in ("apiVersion", "kind", "metadata")}
        self.check(self.root, body, "")

    def check(self, schema, value, path):
        need(set(schema) <= KEYWORDS, "test", f"{path}: schema keywords {set(schema) - KEYWORDS} are not known")
        if value is None and schema.get("nullable"):
            return
        kind = TYPES[schema["type"]]
        need(isinstance(value, kind) and not (kind is int and isinstance(value, bool)),
             self.name, f"{path}: {value!r} is no {schema['type']}")
        {dict: self.check_object, list: self.check_array}.get(kind, self.check_scalar)(schema, value, path)
        for rule in schema.get("x-kubernetes-validations", []):
            text = " ".join(rule["rule"].split())
            need(text in CEL, "test", f"{path}: CEL rule not implemented: {text}")
            need(CEL[text](value), self.name, f"{path}: {rule['message']}")

    def check_object(self, schema, value, path):
        properties = schema.get("properties", {})
        for key in schema.get("required", []):
            need(key in value, self.name, f"{path}.{key} is missing")
        need(len(value) <= schema.get("maxProperties", len(value)), self.name, f"{path}: too many keys")
        for key, item in value.items():
            inner = properties.get(key, schema.get("additionalProperties"))
            need(inner is not None, self.name, f"{path}.{key} is not a field")
            self.check(inner, item, f"{path}.{key}")

    def check_array(self, schema, value, path):
        need(schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)),
             self.name, f"{path}: {len(value)} items")
        keys = schema.get("x-kubernetes-list-map-keys", [])
        for i, item in enumerate(value):
            self.check(schema["items"], item, f"{path}[{i}]")
        if keys:
            names = [tuple(item.get(k) for k in keys) for item in value]
            need(len(set(names)) == len(names), self.name, f"{path}: the same {keys} twice")

    def check_scalar(self, schema, value, path):
        need(value in schema.get("enum", [value]), self.name, f"{path}: {value!r} is none of the words")
        if isinstance(value, str):
            need(len(value) <= schema.get("maxLength", len(value)), self.name, f"{path}: too long")
        else:
            need(schema.get("minimum", value) <= value <= schema.get("maximum", value),
                 self.name, f"{path}: {value} out of range")


def load_schemas():
    """{(kind, apiVersion): [Schema]}; empty when the CRDs are not there."""
    schemas = {}
    for release, versions in CRDS.items():
        for name in ("serviceentry", "destinationrule"):
            file = SHARED / "istio-crds" / release / f"{name}.yaml"
            if not file.exists():
                return {}
            crd = yaml.load(file.read_text(), Loader)
            found = {v["name"]: v["schema"]["openAPIV3Schema"] for v in crd["spec"]["versions"]}
            for version in versions:
                key = (crd["spec"]["names"]["kind"], f"networking.istio.io/{version}")
                schemas.setdefault(key, []).append(Schema(f"CRD {release}", version, found[version]))
    return schemas


# ---- istiod's webhook, the analyzers, the contract ------------------------------------------

def check_host(host):
    need(1 <= len(host) <= 255, "H1", host)
    need("*" not in host, "H4-H6", f"{host}: no wildcard is asked for")
    for label in host.split("."):
        need(len(label) <= 63 and HOST_LABEL.fullmatch(label), "H2", f"{host}: label {label!r}")
    need(not host.split(".")[-1].isdigit(), "H3", f"{host} ends in a number")
    need("." in host, "H9", f"{host} is a single label")
    need(host == host.lower() and len(host) <= 253, "host", f"{host} is not in its normal form")
    need(host != "localhost" and not host.endswith((".localhost", ".svc", ".cluster.local"))
         and not re.search(r"^[^.]+\.[^.]+(\.pod)?\.svc\.", host), "host", f"{host} is inside the cluster")


def check_export_to(spec):
    need(spec.get("exportTo") in (["."], ["*"]), "S17/D6", f"exportTo {spec.get('exportTo')}")


def check_metadata(document):
    meta = document["metadata"]
    need(set(meta) <= {"name", "namespace", "labels", "annotations"}, "metadata", str(set(meta)))
    need(LABEL.fullmatch(meta["name"]) and len(meta["name"]) <= 63, "name", meta["name"])
    need(re.search(r"-[0-9a-f]{8}$", meta["name"]), "name", f"{meta['name']} has no hash")
    if "namespace" in meta:
        need(LABEL.fullmatch(meta["namespace"]) and len(meta["namespace"]) <= 63, "namespace", meta["namespace"])
    need(meta["labels"] == {"app.kubernetes.io/managed-by": "egress-agent"}, "labels", str(meta["labels"]))
    for key, value in meta["annotations"].items():
        need(key in ANNOTATIONS, "annotations", f"{key} (S18, IST0107: only our own)")
        need(isinstance(value, str) and ANNOTATIONS[key].fullmatch(value), "annotations", f"{key}: {value!r}")
    need(sum(len(k) + len(v) for k, v in meta["annotations"].items()) < 256 << 10, "annotations", "too large")
    need({"egress-agent/connections", "egress-agent/requests"} <= set(meta["annotations"]), "annotations", "absent")


def check_port(port, host):
    number, tls = port["number"], port["protocol"] == "TLS"
    need(port["protocol"] in ("HTTP", "TLS"), "S5", port["protocol"])
    need(1 <= number <= 65535 and 1 <= port.get("targetPort", 1) <= 65535, "S3", f"{host}:{number}")
    need(len(port["name"]) <= 63 and LABEL.fullmatch(port["name"]), "S4", port["name"])
    word = "tls" if tls else "http"
    need(port["name"] == (word if number == (443 if tls else 80) else f"{word}-{number}"), "KIA0601", port["name"])
    need(tls or number != 443, "HTTPS vs TLS", f"{host}: HTTP on 443")
    if "targetPort" in port:
        need((number, port["targetPort"], tls) == (80, 443, False), "targetPort", f"{host}:{number}")


def check_service_entry(spec):
    need(set(spec) == {"hosts", "exportTo", "location", "ports", "resolution"}, "spec", str(set(spec)))
    need(len(spec["hosts"]) == 1, "S1, one host a ServiceEntry", str(spec["hosts"]))
    check_host(spec["hosts"][0])
    check_export_to(spec)
    need(spec["location"] == "MESH_EXTERNAL", "location", spec["location"])
    need(spec["resolution"] == "DNS", "S10", spec["resolution"])
    ports = spec["ports"]
    need(1 <= len(ports) <= 256, "ports", str(len(ports)))
    for key in ("name", "number"):
        need(len({p[key] for p in ports}) == len(ports), "S2", f"{spec['hosts']}: {key} twice")
    need(ports == sorted(ports, key=lambda p: p["number"]), "order of ports", str(ports))
    for port in ports:
        check_port(port, spec["hosts"][0])


def check_destination_rule(spec):
    need(set(spec) == {"host", "exportTo", "trafficPolicy"}, "spec", str(set(spec)))
    check_host(spec["host"])
    check_export_to(spec)
    need(set(spec["trafficPolicy"]) == {"portLevelSettings"}, "D2, TLS under portLevelSettings only",
         str(spec["trafficPolicy"]))
    settings = spec["trafficPolicy"]["portLevelSettings"]
    need(len(settings) == 1 and set(settings[0]) == {"port", "tls"}, "D3", str(settings))
    need(settings[0]["port"] == {"number": 80}, "double TLS", f"on port {settings[0]['port']}")
    # D7, D8, IST0128/0129: no credentialName, no skip, a CA, and the names that keep verification on.
    need(settings[0]["tls"] == {"mode": "SIMPLE", "caCertificates": "system", "sni": spec["host"],
                                "subjectAltNames": [spec["host"]]}, "version-proof TLS", str(settings[0]["tls"]))


SPECS = {"ServiceEntry": check_service_entry, "DestinationRule": check_destination_rule}


def check_set(documents):
    """Rules over all documents together."""
    entries, keys = {}, []
    rules = []
    for d in documents:
        spec, ns = d["spec"], d["metadata"].get("namespace", "")
        keys.append((d["kind"], ns, d["metadata"]["name"]))
        if d["kind"] == "DestinationRule":
            need((ns, spec["host"]) not in entries, "order", f"{spec['host']}: ServiceEntry before DestinationRule")
            rules.append((ns, d))
        else:
            need((ns, spec["hosts"][0]) not in entries, "KIA1211", f"{spec['hosts'][0]} twice in {ns}")
            entries[ns, spec["hosts"][0]] = d
    need(len(set(keys)) == len(keys), "names", "the same object twice")
    need(len({d["apiVersion"] for d in documents}) <= 1, "apiVersion", "mixed")
    need(list(entries) == sorted(entries), "order", "objects are not sorted by namespace and host")
    need(len({(ns, d["spec"]["host"]) for ns, d in rules}) == len(rules), "KIA0201", "two DestinationRules for a host")
    for ns, rule in rules:
        entry = entries.get((ns, rule["spec"]["host"]))
        need(entry is not None, "IST0174, KIA0202", f"{rule['spec']['host']} has no ServiceEntry")
        need(entry["spec"]["exportTo"] == rule["spec"]["exportTo"], "IST0174", "exportTo differs")
        need(entry["metadata"] == rule["metadata"], "pair", "metadata differ")
        ports = {p["number"]: p for p in entry["spec"]["ports"]}
        need(ports.get(80, {}).get("targetPort") == 443, "origination", f"{rule['spec']['host']}: port 80 not to 443")
    for (ns, host), entry in entries.items():
        if any("targetPort" in p for p in entry["spec"]["ports"]):
            need(any(n == ns and r["spec"]["host"] == host for n, r in rules), "plaintext to 443", host)


def check_text(text):
    """Every value that is a string stands in double quotes, on one line; numbers only where ports are."""
    depth = []  # per open collection: the pending key of a mapping, or a sequence
    for event in yaml.parse(text, Loader=Loader):
        if isinstance(event, yaml.ScalarEvent):
            if depth and depth[-1] == "key":
                need(not event.style, "quoting", f"key {event.value}")
                depth[-1] = event.value
                continue
            need(depth, "document", f"{event.value!r} is no mapping")
            plain = depth[-1] in ("number", "targetPort")
            need(event.style == (None if plain else '"') or (plain and event.style == ""), "quoting", event.value)
            need(not plain or re.fullmatch("[1-9][0-9]*", event.value), "number", event.value)
            need(event.start_mark.line == event.end_mark.line, "one line a value", event.value)
            depth[-1] = "key" if depth[-1] != "item" else "item"
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            need(not event.flow_style, "block style", "")
            depth.append("key" if isinstance(event, yaml.MappingStartEvent) else "item")
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            depth.pop()
            if depth and depth[-1] != "item":
                depth[-1] = "key"
        need(not isinstance(event, yaml.AliasEvent), "alias", "")
    need(text.isascii() and all(c == "\n" or c.isprintable() for c in text), "bytes", "not printable ASCII")


def judge(text, schemas):
    """Documents of text; raises Bad when any rule is broken. Without schemas all other rules still hold."""
    check_text(text)
    documents = list(yaml.load_all(text, Loader)) if text else []
    for document in documents:
        need(set(document) == {"apiVersion", "kind", "metadata", "spec"}, "document", str(set(document)))
        need(document["kind"] in SPECS, "kind", document["kind"])
        if schemas:
            applicable = schemas.get((document["kind"], document["apiVersion"]))
            need(applicable, "apiVersion", f"{document['apiVersion']} is in no CRD")
            for schema in applicable:
                schema.validate(document)
        check_metadata(document)
        SPECS[document["kind"]](document["spec"])
    check_set(documents)
    return documents


# ---- the test -------------------------------------------------------------------------------

class Tap:
    def __init__(self):
        self.failed = False

    def ok(self, name):
        print(f"ok - {name}", flush=True)

    def not_ok(self, name, why):
        self.failed = True
        why = "".join(c if c.isprintable() else "?" for c in str(why).replace("\n", " "))
        print(f"not ok - {name}: {why[:400]}", flush=True)

    def skip(self, name, why):
        print(f"skip - {name}: {why}", flush=True)


def generate(args, cwd=HERE / "generate", stdin=b"", env=None):
    """(status, stdout, stderr) of one run."""
    clean = {"PATH": os.environ.get("PATH", ""), **(env or {})}
    run = subprocess.run([BINARY, "generate", *args], cwd=cwd, env=clean, input=stdin, timeout=120,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    return run.returncode, run.stdout.decode("utf-8", "surrogateescape"), run.stderr.decode("utf-8", "surrogateescape")


def change(document, path, value):
    """A copy of document with the field at path set, or removed when value is Ellipsis."""
    out = copy.deepcopy(document)
    place = out
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return out


PORT = ("spec", "ports", 0)
TLS = ("spec", "trafficPolicy", "portLevelSettings", 0, "tls")
# What must be refused: (kind, path, value).
BAD_FIELDS = [
    ("ServiceEntry", ("apiVersion",), "networking.istio.io/v1alpha1"),
    ("ServiceEntry", ("spec",), ...),
    ("ServiceEntry", ("spec", "frobnicate"), "x"),
    ("ServiceEntry", ("spec", "hosts"), []),
    ("ServiceEntry", ("spec", "hosts"), ["*"]),
    ("ServiceEntry", ("spec", "hosts"), ["*.example.com"]),
    ("ServiceEntry", ("spec", "hosts"), ["under_score.example.com"]),
    ("ServiceEntry", ("spec", "hosts"), ["192.0.2.1"]),
    ("ServiceEntry", ("spec", "hosts"), ["single"]),
    ("ServiceEntry", ("spec", "hosts"), ["a.svc.cluster.local"]),
    ("ServiceEntry", ("spec", "hosts"), ["a." + "b" * 64 + ".com"]),
    ("ServiceEntry", ("spec", "hosts"), ["a.example.com", "b.example.com"]),
    ("ServiceEntry", ("spec", "exportTo"), [".", "."]),
    ("ServiceEntry", ("spec", "exportTo"), ["*", "."]),
    ("ServiceEntry", ("spec", "exportTo"), ...),
    ("ServiceEntry", ("spec", "location"), "MESH_INTERNAL"),
    ("ServiceEntry", ("spec", "location"), ...),
    ("ServiceEntry", ("spec", "resolution"), "NONE"),
    ("ServiceEntry", ("spec", "resolution"), "dns"),
    ("ServiceEntry", ("spec", "ports"), []),
    ("ServiceEntry", PORT + ("number",), 0),
    ("ServiceEntry", PORT + ("number",), 65536),
    ("ServiceEntry", PORT + ("number",), "80"),
    ("ServiceEntry", PORT + ("number",), 443),
    ("ServiceEntry", PORT + ("targetPort",), 0),
    ("ServiceEntry", PORT + ("targetPort",), ...),
    ("ServiceEntry", PORT + ("targetPort",), 8443),
    ("ServiceEntry", PORT + ("name",), ...),
    ("ServiceEntry", PORT + ("name",), "tls"),
    ("ServiceEntry", PORT + ("name",), "Http"),
    ("ServiceEntry", PORT + ("protocol",), "TCP"),
    ("ServiceEntry", PORT + ("protocol",), "HTTPS"),
    ("ServiceEntry", ("metadata", "name"), "Upper-01234567"),
    ("ServiceEntry", ("metadata", "name"), "x" * 60 + "-01234567"),
    ("ServiceEntry", ("metadata", "namespace"), "other"),
    ("ServiceEntry", ("metadata", "namespace"), "no_namespace"),
    ("ServiceEntry", ("metadata", "labels", "app"), "x"),
    ("ServiceEntry", ("metadata", "annotations", "istio.io/dry-run"), "true"),
    ("ServiceEntry", ("metadata", "annotations", "egress-agent/connections"), 12),
    ("DestinationRule", ("spec", "host"), ""),
    ("DestinationRule", ("spec", "host"), "other.example.com"),
    ("DestinationRule", ("spec", "exportTo"), ["*"]),
    ("DestinationRule", ("spec", "trafficPolicy"), {}),
    ("DestinationRule", ("spec", "trafficPolicy", "tls"), {"mode": "SIMPLE"}),
    ("DestinationRule", ("spec", "trafficPolicy", "portLevelSettings", 0, "port"), ...),
    ("DestinationRule", ("spec", "trafficPolicy", "portLevelSettings", 0, "port", "number"), 443),
    ("DestinationRule", TLS, ...),
    ("DestinationRule", TLS + ("mode",), "simple"),
    ("DestinationRule", TLS + ("caCertificates",), ...),
    ("DestinationRule", TLS + ("sni",), ...),
    ("DestinationRule", TLS + ("subjectAltNames",), ...),
    ("DestinationRule", TLS + ("credentialName",), "x"),
    ("DestinationRule", TLS + ("insecureSkipVerify",), True),
]


def dump(documents):
    """As the generator quotes, so that only the changed field can be at fault."""
    class Quoted(str):
        pass

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data):
            return True

    def quote(value):
        if isinstance(value, dict):
            return {k: quote(v) for k, v in value.items()}
        if isinstance(value, list):
            return [quote(v) for v in value]
        return Quoted(value) if isinstance(value, str) else value

    Dumper.add_representer(Quoted, lambda d, v: d.represent_scalar("tag:yaml.org,2002:str", str(v), style='"'))
    text = yaml.dump_all([quote(d) for d in documents], Dumper=Dumper, sort_keys=False,
                         default_flow_style=False, width=10000)
    return text


def verdict(text, schemas):
    try:
        judge(text, schemas)
    except Bad as bad:
        return str(bad)
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def check_judge(tap, schemas):
    """The judge takes the good pair and refuses every single change of it."""
    good = (HERE / "generate/demo-3-pair.expected").read_text()
    rule, entry = list(yaml.load_all(good, Loader))
    accepted = [verdict(t, schemas) for t in (good, dump([rule, entry]))]
    if any(accepted):
        tap.not_ok("the judge takes the canonical pair", accepted)
        return
    missed = []
    for kind, path, value in BAD_FIELDS:
        documents = [change(d, path, value) if d["kind"] == kind else d for d in (rule, entry)]
        why = verdict(dump(documents), schemas)
        if not why or why.startswith("test"):
            missed.append(f"{kind} {path} {value!r} {why}")
    texts = [dump([entry, rule]), dump([rule]), dump([rule, rule, entry]), dump([rule, entry, entry]),
             good.replace('"SIMPLE"', "SIMPLE"), good.replace("number: 80", 'number: "80"'),
             good.replace('kind: "ServiceEntry"', 'kind: "Pod"'), good + "---\n"]
    missed += [f"text {i}" for i, text in enumerate(texts) if not verdict(text, schemas)]
    if missed:
        tap.not_ok("the judge refuses bad documents", missed)
    else:
        tap.ok(f"the judge refuses {len(BAD_FIELDS) + len(texts)} bad documents")


def check_expected(tap, schemas):
    for file in sorted((HERE / "generate").glob("*.expected")):
        why = verdict(file.read_text(), schemas)
        if why:
            tap.not_ok(file.name, why)
        else:
            tap.ok(file.name)


def check_all_options(tap, schemas):
    """Every input under every combination of what changes the objects."""
    for file in sorted((HERE / "generate").glob("*.json")):
        documents, why = 0, ""
        if generate(["--from", file.name])[0]:
            continue  # input made to be refused; its case says how
        for visibility, scope, version, which in itertools.product(
                ("l4", "l7"), ("namespace", "mesh"), ("v1", "v1beta1"), ("--all", "--only-unregistered")):
            args = ["--from", file.name, "--visibility", visibility, "--scope", scope,
                    "--api-version", version, which, "--min-connections", "0"]
            status, text, errors = generate(args)
            why = why or (f"exit {status}: {errors}" if status else verdict(text, schemas))
            documents += text.count("\nkind: ")
        if why:
            tap.not_ok(f"{file.name} under all options", why)
        else:
            tap.ok(f"{file.name} under all options: {documents} documents")


def main():
    tap = Tap()
    schemas = load_schemas()
    if not os.access(BINARY, os.X_OK):
        tap.not_ok("validation of what generate prints", f"{BINARY} is not there; make builds it")
        return 1
    if schemas:
        check_judge(tap, schemas)
    else:
        tap.skip("validation against Istio's CRDs", f"no istio-crds in {SHARED}; set EA_SHARED; "
                 "the rules beside the schemas are checked")
    check_expected(tap, schemas)
    check_all_options(tap, schemas)
    return int(tap.failed)


if __name__ == "__main__":
    sys.exit(main())
