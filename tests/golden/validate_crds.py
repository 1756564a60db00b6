#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Judges generated YAML by the rules it must obey: Istio's CRD schemas and their CEL rules, what istiod's
webhook and the analyzers refuse beyond them (H*, S*, D*, IST*), and the product's own contract.

Owns: those rules, as an oracle that shares nothing with the generator. Must not know: how the YAML came to be.

Run as a test it judges every tests/golden/generate/*.expected, and what `generate` prints for every input
there under all options that change the objects. Before that it must refuse a list of bad documents: a judge
that accepts anything proves nothing. hostile.py uses it as a module.

What a registrable domain is it asks the list of the package publicsuffix, which it reads by itself.

EA_SHARED	the folder that has istio-crds/ (default: ../shared beside the repository)
EGRESS_AGENT	the binary (default: build/egress-agent)
"""
import copy
import functools
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
KINDS = {"v1.18.0": ["serviceentry", "destinationrule"],
         "v1.30.3": ["serviceentry", "destinationrule", "virtualservice", "sidecar"]}
SUFFIXES = pathlib.Path("/usr/share/publicsuffix/public_suffix_list.dat")
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
    '!self.contains("*")': lambda v: "*" not in v,
    'self.all(key, !key.contains("*"))': lambda v: not any("*" in key for key in v),
    "self.all(key, key.size() != 0)": lambda v: all(v),
    "duration(self) >= duration('1ms')": lambda v: milliseconds(v) >= 1,
}
# What Schema.check() looks at; a keyword that is not here stops the test instead of being skipped.
KEYWORDS = {
    "type", "properties", "additionalProperties", "required", "enum", "items", "nullable", "minItems",
    "maxItems", "maxLength", "maxProperties", "minimum", "maximum", "description", "format",
    "x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys",
    "x-kubernetes-preserve-unknown-fields",
}
TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "number": float}


def milliseconds(duration):
    found = re.fullmatch(r"([0-9]+)(ms|s|m|h)", duration)
    return int(found[1]) * {"ms": 1, "s": 1000, "m": 60000, "h": 3600000}[found[2]] if found else 0


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
        for name in KINDS[release]:
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


def read_suffixes():
    if not SUFFIXES.exists():
        raise Bad(f"test: {SUFFIXES} is not there; install publicsuffix")
    lines = (line.split()[0] for line in SUFFIXES.read_text(encoding="utf-8").splitlines() if line.strip())
    return {line.encode("idna").decode() if not line.isascii() else line
            for line in lines if not line.startswith("//")}


@functools.lru_cache(maxsize=None)
def suffixes():
    return read_suffixes()


@functools.lru_cache(maxsize=4096)
def registrable_domain(host):
    """As https://github.com/publicsuffix/list/wiki/Format has it; "" for a public suffix."""
    labels, best = host.split("."), 1
    for i in range(len(labels)):
        name = ".".join(labels[i:])
        if f"!{name}" in suffixes():
            best = len(labels) - i - 1
            break
        if name in suffixes():
            best = max(best, len(labels) - i)
        if ".".join(["*", *labels[i + 1:]]) in suffixes() and i + 1 < len(labels):
            best = max(best, len(labels) - i)
    return ".".join(labels[-best - 1:]) if len(labels) > best else ""


def check_any_host(host):
    """An exact host, or the wildcard of a registrable domain."""
    if not host.startswith("*."):
        check_host(host)
        return
    check_host(host[2:])
    need(len(host) <= 255, "H1", host)
    need(registrable_domain(host[2:]) == host[2:], "wildcard",
         f"{host} is not right below a registrable domain ({registrable_domain(host[2:])})")


def check_export_to(spec):
    need(spec.get("exportTo") in (["."], ["*"]), "S17/D6", f"exportTo {spec.get('exportTo')}")


def check_metadata(document):
    meta = document["metadata"]
    need(set(meta) <= {"name", "namespace", "labels", "annotations"}, "metadata", str(set(meta)))
    need(LABEL.fullmatch(meta["name"]) and len(meta["name"]) <= 63, "name", meta["name"])
    if document["kind"] == "Sidecar":
        need(meta["name"] == "egress-agent-lockdown" and meta.get("namespace"), "name", str(meta))
        need("annotations" not in meta, "annotations", str(meta))
        meta = {**meta, "annotations": {"egress-agent/connections": "0", "egress-agent/requests": "0"}}
    else:
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
    host, ports = spec["hosts"][0], spec["ports"]
    check_any_host(host)
    check_export_to(spec)
    need(spec["location"] == "MESH_EXTERNAL", "location", spec["location"])
    need(spec["resolution"] in (("NONE", "DYNAMIC_DNS") if host[0] == "*" else ("DNS",)), "S10, S14",
         f"{host}: {spec['resolution']}")
    need(1 <= len(ports) <= 256, "ports", str(len(ports)))
    for key in ("name", "number"):
        need(len({p[key] for p in ports}) == len(ports), "S2", f"{spec['hosts']}: {key} twice")
    need(ports == sorted(ports, key=lambda p: p["number"]), "order of ports", str(ports))
    for port in ports:
        check_port(port, host)
        need(host[0] != "*" or "targetPort" not in port, "origination of a wildcard", host)


def check_destination_rule(spec):
    mutual = "workloadSelector" in spec
    need(set(spec) - {"workloadSelector"} == {"host", "exportTo", "trafficPolicy"}, "spec", str(set(spec)))
    check_host(spec["host"])
    check_export_to(spec)
    need(set(spec["trafficPolicy"]) == {"portLevelSettings"}, "D2, TLS under portLevelSettings only",
         str(spec["trafficPolicy"]))
    settings = spec["trafficPolicy"]["portLevelSettings"]
    need(len(settings) == 1 and set(settings[0]) == {"port", "tls"}, "D3", str(settings))
    need(settings[0]["port"] == {"number": 80}, "double TLS", f"on port {settings[0]['port']}")
    names = {"sni": spec["host"], "subjectAltNames": [spec["host"]]}
    if not mutual:
        # D7, D8, IST0128/0129: no credentialName, no skip, a CA, and the names that keep verification on.
        need(settings[0]["tls"] == {"mode": "SIMPLE", "caCertificates": "system", **names},
             "version-proof TLS", str(settings[0]["tls"]))
        return
    # D6: such a rule counts in its own namespace only. D7: a credentialName has the CA in it. D8: it needs a selector.
    need(spec["exportTo"] == ["."], "D6", str(spec["exportTo"]))
    credential, labels = settings[0]["tls"].get("credentialName", ""), spec["workloadSelector"].get("matchLabels", {})
    need(settings[0]["tls"] == {"mode": "MUTUAL", "credentialName": credential, **names}, "D7, D8",
         str(settings[0]["tls"]))
    need(re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", credential) and len(credential) <= 253, "D7", credential)
    need(set(spec["workloadSelector"]) == {"matchLabels"} and len(labels) == 1, "D8", str(spec["workloadSelector"]))
    for key, value in labels.items():
        need(key in ("app", "service.istio.io/canonical-name"), "selector", key)
        need(re.fullmatch(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", value), "selector", repr(value))


def check_virtual_service(spec):
    need(set(spec) == {"hosts", "exportTo", "http"}, "spec", str(set(spec)))
    need(len(spec["hosts"]) == 1, "hosts", str(spec["hosts"]))
    check_any_host(spec["hosts"][0])
    check_export_to(spec)
    need(spec["http"], "no route", str(spec["hosts"]))
    for http in spec["http"]:
        need({"match", "route"} < set(http) <= {"match", "route", "timeout", "retries"}, "http", str(set(http)))
        need(len(http["match"]) == 1 and set(http["match"][0]) == {"port"}, "match", str(http["match"]))
        port = http["match"][0]["port"]
        # IST0112: always with the port.
        need(http["route"] == [{"destination": {"host": spec["hosts"][0], "port": {"number": port}}}], "IST0112",
             str(http["route"]))
        need("timeout" not in http or re.fullmatch("[1-9][0-9]*(ms|s)", http["timeout"]), "timeout",
             str(http.get("timeout")))
        retries = http.get("retries", {"attempts": 0})
        need(set(retries) == {"attempts"} and 0 <= retries["attempts"] <= 1000, "retries", str(retries))
    ports = [http["match"][0]["port"] for http in spec["http"]]
    need(len(set(ports)) == len(ports), "IST0130, IST0131", str(ports))


def check_sidecar(spec):
    need(spec == {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}, "Sidecar", str(spec))


SPECS = {"DestinationRule": check_destination_rule, "ServiceEntry": check_service_entry,
         "VirtualService": check_virtual_service, "Sidecar": check_sidecar}


def host_of(document):
    spec = document["spec"]
    return spec.get("host") or (spec.get("hosts") or [""])[0]


def check_rule_in_set(host, rule, entry):
    need(entry is not None, "IST0174, KIA0202", f"{host} has no ServiceEntry")
    need(entry["spec"]["exportTo"] == rule["spec"]["exportTo"], "IST0174", "exportTo differs")
    need(entry["metadata"] == rule["metadata"], "pair", "metadata differ")
    ports = {p["number"]: p for p in entry["spec"]["ports"]}
    need(ports.get(80, {}).get("targetPort") == 443, "origination", f"{host}: port 80 not to 443")


def check_route_in_set(host, route, entry):
    need(entry is not None, "IST0101", f"{host} has no ServiceEntry")
    need(entry["spec"]["exportTo"] == route["spec"]["exportTo"], "IST0101", "exportTo differs")
    need(entry["metadata"] == route["metadata"], "pair", "metadata differ")
    readable = {p["number"] for p in entry["spec"]["ports"] if p["protocol"] == "HTTP"}
    routed = {http["match"][0]["port"] for http in route["spec"]["http"]}
    need(routed <= readable, "IST0101", f"{host}: {routed - readable} is no HTTP port of the ServiceEntry")
    need(readable <= routed, "404", f"{host}: no route for {readable - routed}")


def check_set(documents):
    """Rules over all documents together."""
    sets = {kind: {} for kind in SPECS}
    order = []
    for d in documents:
        key = (d["metadata"].get("namespace", ""), host_of(d))
        need(key not in sets[d["kind"]], "KIA1211, KIA0201, KIA1106, IST0110", f"two {d['kind']} for {key}")
        sets[d["kind"]][key] = d
        order.append((*key, list(SPECS).index(d["kind"])))
    # A DestinationRule before the ServiceEntry that sends plaintext to 443, a VirtualService behind both.
    need(order == sorted(order), "order", "objects are not sorted by namespace, host and kind")
    names = [(d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in documents]
    need(len(set(names)) == len(names), "names", "the same object twice")
    need(len({d["apiVersion"] for d in documents}) <= 1, "apiVersion", "mixed")
    need(not sets["Sidecar"] or len(sets["Sidecar"]) == len(documents), "lockdown", "Sidecars and others")
    entries = sets["ServiceEntry"]
    for (ns, host), rule in sets["DestinationRule"].items():
        check_rule_in_set(host, rule, entries.get((ns, host)))
    for (ns, host), route in sets["VirtualService"].items():
        check_route_in_set(host, route, entries.get((ns, host)))
    for (ns, host), entry in entries.items():
        if any("targetPort" in p for p in entry["spec"]["ports"]):
            need((ns, host) in sets["DestinationRule"], "plaintext to 443", host)


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
            plain = depth[-1] in ("number", "targetPort", "port", "attempts")
            need(event.style == (None if plain else '"') or (plain and event.style == ""), "quoting", event.value)
            need(not plain or re.fullmatch("0|[1-9][0-9]*", event.value), "number", event.value)
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
    ("ServiceEntry", ("spec", "resolution"), "DYNAMIC_DNS"),
    ("ServiceEntry", ("spec", "addresses"), ["192.0.2.1"]),
    ("ServiceEntry", ("spec", "workloadSelector"), {"labels": {"app": "cart"}}),
    ("ServiceEntry", ("spec", "hosts"), ["*.example.com"]),
    ("DestinationRule", ("spec", "workloadSelector"), {"matchLabels": {"app": "cart"}}),
    # IST0173, IST0128 of a whole rule, and what is a waypoint's.
    ("DestinationRule", ("spec", "subsets"), [{"name": "v1", "labels": {"version": "v1"}}]),
    ("DestinationRule", ("spec", "trafficPolicy"), {"tls": {"mode": "MUTUAL", "clientCertificate": "/c",
                                                           "privateKey": "/k"}}),
    ("ServiceEntry", ("metadata", "labels", "istio.io/use-waypoint"), "waypoint"),
]
HTTP = ("spec", "http", 0)
# The same of the triple with a client certificate and a VirtualService.
BAD_MUTUAL_FIELDS = [
    ("DestinationRule", ("spec", "workloadSelector"), ...),
    ("DestinationRule", ("spec", "workloadSelector"), {"matchLabels": {}}),
    ("DestinationRule", ("spec", "workloadSelector", "matchLabels"), {"app": "*"}),
    ("DestinationRule", ("spec", "workloadSelector", "matchLabels"), {"": "cart"}),
    ("DestinationRule", ("spec", "workloadSelector", "matchLabels"), {"app": "x" * 64}),
    ("DestinationRule", ("spec", "workloadSelector", "matchLabels"), {"app": "cart", "version": "v1"}),
    ("DestinationRule", ("spec", "exportTo"), ["*"]),
    ("DestinationRule", TLS + ("mode",), "SIMPLE"),
    ("DestinationRule", TLS + ("caCertificates",), "system"),
    ("DestinationRule", TLS + ("clientCertificate",), "/etc/cert.pem"),
    ("DestinationRule", TLS + ("credentialName",), ...),
    ("DestinationRule", TLS + ("credentialName",), ""),
    ("DestinationRule", TLS + ("credentialName",), "Not_A_Secret"),
    ("VirtualService", ("spec", "hosts"), ["other.example.com"]),
    ("VirtualService", ("spec", "hosts"), ["*"]),
    ("VirtualService", ("spec", "exportTo"), ["*"]),
    ("VirtualService", ("spec", "http"), []),
    ("VirtualService", ("spec", "gateways"), ["mesh"]),
    ("VirtualService", HTTP + ("match",), ...),
    ("VirtualService", HTTP + ("match", 0, "port"), 443),
    ("VirtualService", HTTP + ("match", 0, "port"), 8080),
    ("VirtualService", HTTP + ("route",), []),
    ("VirtualService", HTTP + ("route", 0, "destination", "port"), ...),
    ("VirtualService", HTTP + ("route", 0, "destination", "port", "number"), 443),
    ("VirtualService", HTTP + ("route", 0, "destination", "host"), "other.example.com"),
    ("VirtualService", HTTP + ("timeout",), "0s"),
    ("VirtualService", HTTP + ("timeout",), "soon"),
    ("VirtualService", HTTP + ("timeout",), "-1s"),
    ("VirtualService", HTTP + ("retries", "attempts"), -1),
    ("VirtualService", HTTP + ("retries", "perTryTimeout"), "1s"),
]
# Of a wildcard's ServiceEntry.
BAD_WILDCARD_FIELDS = [
    ("ServiceEntry", ("spec", "hosts"), ["*.com"]),
    ("ServiceEntry", ("spec", "hosts"), ["*.co.uk"]),
    ("ServiceEntry", ("spec", "hosts"), ["*.github.io"]),
    ("ServiceEntry", ("spec", "hosts"), ["*.a.example.com"]),
    ("ServiceEntry", ("spec", "hosts"), ["*example.com"]),
    ("ServiceEntry", ("spec", "hosts"), ["a.*.example.com"]),
    ("ServiceEntry", ("spec", "resolution"), "DNS"),
    ("ServiceEntry", ("spec", "addresses"), ["192.0.2.1"]),
    ("ServiceEntry", PORT + ("protocol",), "HTTPS"),
    ("ServiceEntry", PORT + ("targetPort",), 443),
]
BAD_SIDECAR_FIELDS = [
    ("Sidecar", ("spec",), {}),
    ("Sidecar", ("spec", "outboundTrafficPolicy", "mode"), "ALLOW_ANY"),
    ("Sidecar", ("spec", "outboundTrafficPolicy", "mode"), "BLOCK"),
    ("Sidecar", ("spec", "workloadSelector"), {"labels": {"app": "cart"}}),
    ("Sidecar", ("spec", "egress"), [{"hosts": ["*/*"]}]),
    ("Sidecar", ("metadata", "namespace"), ...),
    ("Sidecar", ("metadata", "name"), "default"),
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


def missed_fields(documents, fields, schemas):
    """Which single changes of good documents the judge takes."""
    missed = []
    why = verdict(dump(documents), schemas)
    if why:
        missed.append(f"the good ones are refused: {why}")
    for kind, path, value in fields:
        changed = [change(d, path, value) if d["kind"] == kind else d for d in documents]
        why = verdict(dump(changed), schemas)
        if not why or why.startswith("test"):
            missed.append(f"{kind} {path} {value!r} {why}")
    return missed


def with_mutual(rule, entry):
    """The canonical pair with a client certificate, and a VirtualService."""
    tls = {k: v for k, v in rule["spec"]["trafficPolicy"]["portLevelSettings"][0]["tls"].items()
           if k != "caCertificates"}
    rule = change(rule, TLS, {**tls, "mode": "MUTUAL", "credentialName": "client-cert"})
    rule = change(rule, ("spec", "workloadSelector"), {"matchLabels": {"app": "curl"}})
    host = entry["spec"]["hosts"][0]
    route = {**entry, "kind": "VirtualService", "spec": {
        "hosts": [host], "exportTo": ["."],
        "http": [{"match": [{"port": 80}], "route": [{"destination": {"host": host, "port": {"number": 80}}}],
                  "timeout": "3s", "retries": {"attempts": 2}}]}}
    return [rule, entry, route]


def as_wildcard(entry):
    entry = change(change(entry, ("spec", "hosts"), ["*.example.com"]), ("spec", "resolution"), "DYNAMIC_DNS")
    return change(entry, PORT + ("targetPort",), ...)


def as_sidecar(entry):
    return {"apiVersion": entry["apiVersion"], "kind": "Sidecar",
            "metadata": {"name": "egress-agent-lockdown", "namespace": "shop", "labels": entry["metadata"]["labels"]},
            "spec": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}}}


def check_judge(tap, schemas):
    """The judge takes good documents and refuses every single change of them."""
    good = (HERE / "generate/demo-3-pair.expected").read_text()
    rule, entry = list(yaml.load_all(good, Loader))
    triple, sidecar = with_mutual(rule, entry), as_sidecar(entry)
    missed = [] if not verdict(good, schemas) else [f"the canonical pair is refused: {verdict(good, schemas)}"]
    missed += missed_fields([rule, entry], BAD_FIELDS, schemas)
    missed += missed_fields(triple, BAD_MUTUAL_FIELDS, schemas)
    missed += missed_fields([as_wildcard(entry)], BAD_WILDCARD_FIELDS, schemas)
    missed += missed_fields([sidecar], BAD_SIDECAR_FIELDS, schemas)
    texts = [dump([entry, rule]), dump([rule]), dump([rule, rule, entry]), dump([rule, entry, entry]),
             dump([triple[2]]), dump([triple[0], triple[2], triple[1]]), dump([*triple, triple[2]]),
             dump([as_wildcard(entry), {**triple[0], "spec": {**triple[0]["spec"], "host": "*.example.com"}}]),
             dump([sidecar, sidecar]), dump([rule, entry, sidecar]),
             good.replace('"SIMPLE"', "SIMPLE"), good.replace("number: 80", 'number: "80"'),
             good.replace('kind: "ServiceEntry"', 'kind: "Pod"'), good + "---\n"]
    missed += [f"text {i}" for i, text in enumerate(texts) if not verdict(text, schemas)]
    if missed:
        tap.not_ok("the judge refuses bad documents", missed)
    else:
        n = sum(map(len, (BAD_FIELDS, BAD_MUTUAL_FIELDS, BAD_WILDCARD_FIELDS, BAD_SIDECAR_FIELDS, texts)))
        tap.ok(f"the judge refuses {n} bad documents")


def check_expected(tap, schemas):
    for file in sorted((HERE / "generate").glob("*.expected")):
        if "--diff" in file.with_suffix(".args").read_text().split():
            continue  # no documents
        why = verdict(file.read_text(), schemas)
        if why:
            tap.not_ok(file.name, why)
        else:
            tap.ok(file.name)


EXTRAS = [[], ["--timeout", "1500ms"], ["--retries", "0", "--timeout", "10s"], ["--wildcard", "2"],
          ["--wildcard", "1", "--wildcard-resolution", "dynamic-dns", "--retries", "3"], ["--mutual", "client-cert"]]


def contradicts(visibility, scope, version, extra):
    return "--mutual" in extra and (visibility, scope) != ("l7", "namespace") or \
        "dynamic-dns" in extra and version == "v1beta1"


def check_all_options(tap, schemas):
    """Every input under every combination of what changes the objects."""
    for file in sorted((HERE / "generate").glob("*.json")):
        documents, why = 0, ""
        if generate(["--from", file.name])[0]:
            continue  # input made to be refused; its case says how
        for visibility, scope, version, which, extra in itertools.product(
                ("l4", "l7"), ("namespace", "mesh"), ("v1", "v1beta1"), ("--all", "--only-unregistered"), EXTRAS):
            if contradicts(visibility, scope, version, extra):
                continue
            args = ["--from", file.name, "--visibility", visibility, "--scope", scope,
                    "--api-version", version, which, "--min-connections", "0", *extra]
            status, text, errors = generate(args)
            why = why or (f"{args}: exit {status}: {errors}" if status else verdict(text, schemas))
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
