#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
Property test of `generate` beside a cluster: random observations, hostile names among them, random objects that are
there already, all options.

Owns: a second, independent opinion on who owns a host. Must not know: how generate works.

For every set:
- what is printed obeys every rule of validate_crds.py;
- no new object is a second owner of its host: no other ServiceEntry or Service that its clients see has the host or a
  wildcard above it; no second DestinationRule or VirtualService; nothing takes the name of somebody else's object;
- an object of ours that is there keeps its ports, who sees it, and its origination;
- before it is applied, --diff names exactly the documents that are not in the cluster as they are (exit 3);
- applied to the cluster, the same command prints nothing more, and --diff finds nothing to change (exit 0).

EA_SEED		seed (default: 1)
EA_SETS		how many sets (default: 500, about 30 seconds; 2000 is the whole of the proof)
"""
import collections
import concurrent.futures
import json
import os
import pathlib
import random
import re
import signal
import sys
import tempfile

import yaml

sys.dont_write_bytecode = True  # the import leaves no __pycache__ behind

# pylint: disable=wrong-import-position
import hostile
import validate_crds
from validate_crds import BINARY, Bad, Loader, Tap, generate, host_of, judge, load_schemas, need

ROOT = "istio-system"
NAMESPACES = ["shop", "bank", "platform", ROOT, "default", ""]
DOMAINS = ["example.com", "example.co.uk", "alice.github.io", "corp.internal", "xn--bcher-kva.example"]
HOSTS = [f"{sub}{domain}" for domain in DOMAINS for sub in ("a.", "b.", "c.", "x.y.", "")] + ["httpbin.org", "media.svc.ms"]
WILDCARDS = [f"*.{domain}" for domain in DOMAINS] + ["*.y.example.com", "*.com", "*.internal"]
ADDRESSES = ["192.0.2.1", "192.0.2.77", "198.51.100.9", "2001:db8::5"]
LABELS = ["cart", "pay", "", "under_score", "x" * 64]
MANAGED = "app.kubernetes.io/managed-by"


# ---- what was seen --------------------------------------------------------------------------

def random_row(rng, hosts):
    row = hostile.random_row(rng, hosts)
    row["source"].update(namespace=rng.choice(NAMESPACES), app=rng.choice(LABELS),
                         canonicalService=rng.choice(LABELS))
    if rng.random() < .7:  # mostly what can be registered
        row["protocol"], row["nameSource"] = rng.choice([("tls", "sni"), ("http", "http")])
        row["host"] = rng.choice(hosts)
        row["port"] = rng.choice([80, 443, 443, 8443, 8080])
        row["tls"]["ech"] = False
    row["addresses"] = rng.sample(ADDRESSES, rng.choice([0, 0, 1, 2]))
    row.pop("registry")
    return row


def random_rows(rng):
    rows = {}
    hosts = rng.sample(HOSTS, rng.randint(1, 12))
    for _ in range(rng.choice([1, 3, 10, 30])):
        row = random_row(rng, hosts)
        rows.setdefault((row["source"]["namespace"], row["source"]["workload"], row["host"].lower(), row["port"],
                         row["protocol"]), row)
    return list(rows.values())


# ---- what is there --------------------------------------------------------------------------

def random_export(rng, ns):
    exported = rng.choice([None, None, ["*"], ["."], ["."], ["shop"], ["bank", "shop"], [".", "bank"]])
    if not exported:
        return None
    exported = [ns if e == "." and rng.random() < .2 else e for e in exported]
    return list(dict.fromkeys(e for e in exported if e != "." or ns not in exported))


def random_object(rng, kind, spec, i):
    ns = rng.choice(NAMESPACES[:5])
    document = {"apiVersion": f"networking.istio.io/{rng.choice(['v1', 'v1beta1', 'v1alpha3'])}", "kind": kind,
                "metadata": {"name": f"{kind.lower()}-{i}", "namespace": ns,
                             "creationTimestamp": f"2026-01-{rng.randint(1, 28):02}T00:00:00Z"}, "spec": spec}
    if rng.random() < .15:
        document["metadata"]["labels"] = {MANAGED: "egress-agent"}
    exported = random_export(rng, ns)
    if kind != "Sidecar" and exported:
        document["spec"]["exportTo"] = exported
    return document


def random_service_entry(rng, i):
    wild = rng.random() < .3
    hosts = rng.sample(WILDCARDS if wild else HOSTS, rng.choice([1, 1, 1, 2]))
    numbers = rng.sample([80, 443, 8080, 8443, 9000], rng.randint(1, 3))
    protocols = ["HTTP", "TLS", "HTTPS"] + (["TCP"] if len(hosts) == 1 and not wild else [])
    spec = {"hosts": hosts, "location": "MESH_EXTERNAL", "resolution": "NONE" if wild else "DNS",
            "ports": [{"number": n, "name": f"p-{n}", "protocol": rng.choice(protocols)} for n in numbers]}
    if rng.random() < .2:
        spec["addresses"] = [rng.choice(ADDRESSES[:3])]
    return random_object(rng, "ServiceEntry", spec, i)


def random_destination_rule(rng, i):
    policy = rng.choice([{"connectionPool": {"tcp": {"maxConnections": 10}}}, {"tls": {"mode": "SIMPLE"}},
                         {"tls": {"mode": "DISABLE"}},
                         {"portLevelSettings": [{"port": {"number": 80}, "tls": {"mode": "SIMPLE"}}]}])
    return random_object(rng, "DestinationRule", {"host": rng.choice(HOSTS + WILDCARDS), "trafficPolicy": policy}, i)


def random_virtual_service(rng, i):
    host = rng.choice(HOSTS + WILDCARDS[:5])
    return random_object(rng, "VirtualService", {
        "hosts": [host], "http": [{"route": [{"destination": {"host": host, "port": {"number": 80}}}]}]}, i)


def random_sidecar(rng, i):
    spec = {}
    if rng.random() < .6:
        hosts = rng.choice([["*/*"], ["./*"], ["./*", f"{ROOT}/*"], ["*/*.example.com"], ["platform/*"]])
        spec["egress"] = [{"hosts": hosts}]
        if rng.random() < .3:
            spec["egress"].insert(0, {"port": {"number": 443, "protocol": rng.choice(["TLS", "TCP"]), "name": "x"},
                                      "hosts": ["./*"]})
    if rng.random() < .4 or not spec:
        spec["outboundTrafficPolicy"] = {"mode": rng.choice(["REGISTRY_ONLY", "ALLOW_ANY"])}
    if rng.random() < .4:
        spec["workloadSelector"] = {"labels": {"app": rng.choice(LABELS[:2])}}
    return random_object(rng, "Sidecar", spec, i)


def random_service(rng, i):
    return {"apiVersion": "v1", "kind": "Service",
            "metadata": {"name": rng.choice(["a", "cart", f"s{i}"]), "namespace": rng.choice(NAMESPACES[:5])},
            "spec": {"clusterIP": f"10.0.0.{i + 1}", "ports": [{"port": rng.choice([80, 443]), "name": "http"}]}}


MAKERS = [random_service_entry] * 5 + [random_destination_rule] * 2 + [random_virtual_service, random_sidecar,
                                                                      random_service]


def identity(document):
    return document["kind"], document["metadata"].get("namespace") or "default", document["metadata"]["name"]


def random_cluster(rng, rows, folder):
    """Objects of others, and often what an earlier run of ours left there, with other options or fewer rows."""
    cluster = {}
    for i in range(rng.choice([0, 0, 2, 5, 12])):
        document = rng.choice(MAKERS)(rng, i)
        cluster[identity(document)] = document
    if rng.random() < .6:
        some = rng.sample(rows, rng.randint(1, len(rows)))
        args = [*random_options(rng), "--from", write_list(folder / "earlier.json", some)]
        status, text, errors = generate([*args, "--existing", write_cluster(folder, cluster)])
        need(status == 0, "exit", f"{status}: {errors}")
        apply(cluster, text, rng)
    return cluster


def change_by_hand(rng, document):
    """Now and then somebody does."""
    labels, spec = document["metadata"]["labels"], document["spec"]
    if rng.random() < .1:
        labels["team"] = "payments"
    if rng.random() < .05:
        del labels[MANAGED]
    if document["kind"] == "ServiceEntry" and rng.random() < .08:
        host = "*.moved.example.com" if spec["hosts"][0][0] == "*" else "moved.org"
        rng.choice([lambda: spec.update(exportTo=["*"]), lambda: spec.update(exportTo=["bank", "shop"]),
                    lambda: spec.update(subjectAltNames=["x.example.com"]), lambda: spec.update(hosts=[host]),
                    lambda: spec["ports"].append({"number": 7777, "name": "grpc", "protocol": "GRPC"})])()


def apply(cluster, text, rng=None):
    """As kubectl apply does it."""
    for document in yaml.load_all(text, Loader) if text else ():
        document["metadata"].setdefault("namespace", "default")
        if rng:
            change_by_hand(rng, document)
        cluster[identity(document)] = document


def write_cluster(folder, cluster):
    folder = folder / "cluster"
    folder.mkdir(exist_ok=True)
    (folder / "all.json").write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": list(cluster.values())}))
    return str(folder)


def write_list(path, rows):
    document = {"apiVersion": "egress-agent/v1", "kind": "DestinationList", "destinations": rows}
    path.write_text(json.dumps(document))
    return str(path)


# ---- who owns a host ------------------------------------------------------------------------

def covers(pattern, host):
    """host.Name.SubsetOf: by suffix, any depth; a wildcard covers a longer wildcard."""
    if pattern[0] != "*":
        return pattern == host
    return host.lstrip("*").endswith(pattern[1:]) and len(host) >= len(pattern)


def hosts_of(document):
    spec, meta = document["spec"], document["metadata"]
    if document["kind"] == "Service":
        return [f"{meta['name']}.{meta['namespace']}.svc.cluster.local"]
    return [spec["host"]] if "host" in spec else spec.get("hosts", [])


def exported_to(document, client):
    """Whether a client namespace (None: any but its own) sees the object."""
    ns = document["metadata"]["namespace"]
    exported = {ns if e == "." else e for e in document["spec"].get("exportTo") or ["*"]}
    if client is None:
        return bool(exported - {ns})
    return "*" in exported or client in exported


def sees(document, new, kind):
    """Whether the clients of a new object see one that is there."""
    ns, at = new["metadata"].get("namespace") or "default", document["metadata"]["namespace"]
    mesh = new["spec"].get("exportTo") == ["*"]
    if kind == "DestinationRule":
        # Asked for in the client's namespace and in the root namespace (and the service's, here the client's).
        return at == ns or (at == ROOT and (mesh or exported_to(document, ns)
                                            and document["spec"].get("exportTo") != ["."]))
    if at == ns:
        return mesh or exported_to(document, ns)
    return exported_to(document, None if mesh else ns)


def check_owner(new, cluster):
    kind, host = new["kind"], host_of(new)
    there = cluster.get(identity(new))
    if there:
        need(there["metadata"].get("labels", {}).get(MANAGED) == "egress-agent" and hosts_of(there)[:1] == [host],
             "overwrites", f"{identity(new)}, which is somebody else's")
    for key, old in cluster.items():
        same = {kind, "Service"} if kind == "ServiceEntry" else {kind}
        if old["kind"] not in same or key == identity(new):
            continue
        mine = old["metadata"].get("namespace") == (new["metadata"].get("namespace") or "default")
        for other in hosts_of(old):
            if there and not (mine and other == host and exported_to(old, old["metadata"]["namespace"])):
                continue  # ours was there before
            need(not (covers(other, host) and sees(old, new, kind)), "second owner",
                 f"{identity(new)} of {host}: {key} has {other}, exported to {old['spec'].get('exportTo')}")


def check_kept(new, cluster):
    old = cluster.get(identity(new))
    if not old or new["kind"] != "ServiceEntry":
        return
    before, after = ({p["number"]: p for p in d["spec"]["ports"]} for d in (old, new))
    need(set(before) <= set(after), "ports", f"{identity(new)} loses {set(before) - set(after)}")
    need(new["spec"]["exportTo"] == ["*"] or old["spec"].get("exportTo", ["*"]) != ["*"], "exportTo",
         f"{identity(new)} is taken away from other namespaces")
    if ("DestinationRule", *identity(new)[1:]) in cluster:
        need(all(after[n].get("targetPort") == p.get("targetPort") for n, p in before.items()), "origination",
             f"{identity(new)} ends what is in use")


def opens_tls(rule):
    policy = rule["spec"].get("trafficPolicy", {})
    return any(p.get("tls", {}).get("mode") in ("SIMPLE", "MUTUAL")
               for p in [policy, *policy.get("portLevelSettings", [])])


def check_touched_rules(documents, cluster):
    """No new ServiceEntry under a rule of somebody else's that would open TLS for it."""
    made = {identity(d) for d in documents}
    for new in documents:
        if new["kind"] != "ServiceEntry" or identity(new) in cluster:
            continue
        for key, old in cluster.items():
            if old["kind"] == "DestinationRule" and key not in made and opens_tls(old):
                need(not (covers(old["spec"]["host"], host_of(new)) and sees(old, new, "DestinationRule")),
                     "double TLS", f"{identity(new)} under {key}")


# ---- one set --------------------------------------------------------------------------------

def random_options(rng):
    args = ["--visibility", rng.choice(["l4", "l4", "l7"]), "--scope", rng.choice(["namespace"] * 3 + ["mesh"])]
    if rng.random() < .5:
        args += ["--wildcard", rng.choice(["1", "2", "3"])]
        args += ["--wildcard-resolution", rng.choice(["none", "dynamic-dns"])]
    if rng.random() < .2:
        args += ["--timeout", rng.choice(["10s", "1500ms"])]
    if rng.random() < .2:
        args += ["--retries", rng.choice(["0", "2"])]
    if "l7" in args and "mesh" not in args and rng.random() < .3:
        args += ["--mutual", "client-cert"]
    if rng.random() < .2:
        args += [rng.choice(["--namespace", "--workload"]), rng.choice(["shop", "cart"])]
    if rng.random() < .1:
        args += ["--min-connections", "3"]
    return args


def check_diff(status, text, documents, cluster):
    """The hunks name the documents that are not there as they are."""
    named = {tuple(part.split("/")) for part in re.findall(r"^\+\+\+ generated/(\S+)$", text, re.MULTILINE)}
    changed = set()
    for d in documents:
        old = cluster.get(identity(d))
        if not old or old["spec"] != d["spec"]:
            changed.add((d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]))
    need(named == changed, "--diff", f"names {named - changed}, not {changed - named}")
    need(status == (3 if changed else 0), "--diff", f"exit {status} for {len(changed)} changes")


def check_set(i, seed, schemas):
    """(what is wrong with one random set, counts of what was looked at)"""
    rng, seen = random.Random(f"{seed}/{i}"), collections.Counter()
    with tempfile.TemporaryDirectory(prefix="egress-agent-test-") as name:
        try:
            check_in_folder(rng, pathlib.Path(name), schemas, seen)
        except Bad as bad:
            return f"set {i}: {bad}", seen
    return "", seen


def check_in_folder(rng, folder, schemas, seen):
    rows = random_rows(rng)
    cluster = random_cluster(rng, rows, folder)
    args = [*random_options(rng), "--from", write_list(folder / "now.json", rows), "--existing",
            write_cluster(folder, cluster)]
    status, text, errors = generate(args)
    need(status == 0, "exit", f"{args}: {status}: {errors}")
    need("--existing:" not in errors, "an object that istiod would not take", errors)
    documents = judge(text, schemas)
    for document in documents:
        check_owner(document, cluster)
        check_kept(document, cluster)
        seen[document["kind"]] += 1
        seen["updates"] += identity(document) in cluster
        seen["wildcards"] += host_of(document)[0] == "*"
    check_touched_rules(documents, cluster)
    diff = generate([*args, "--diff"])
    check_diff(diff[0], diff[1], documents, cluster)
    apply(cluster, text)
    write_cluster(folder, cluster)
    again = generate(args)
    need(again[:2] == (0, ""), "again", f"{args}: exit {again[0]}: {again[1][:300]}")
    after = generate([*args, "--diff"])
    need(after[0] == 0 and not re.search("^[-+@]", after[1], re.MULTILINE), "--diff again", f"exit {after[0]}: {after[1]}")
    seen["in the way"] += len(re.findall("has the host already|covers the host|opens? TLS", errors))
    seen["not in force"] += again[2].count("not in force")


def run_sets(count, seed, schemas):
    """Several at a time: most of the time goes into starting programs."""
    wrong, seen = [], collections.Counter()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for why, counts in pool.map(lambda i: check_set(i, seed, schemas), range(count)):
            wrong += [why] if why else []
            seen += counts
    return wrong, seen


def main():
    tap, schemas = Tap(), load_schemas()
    seed, count = int(os.environ.get("EA_SEED", "1")), int(os.environ.get("EA_SETS", "500"))
    name = f"generate: {count} random sets beside random clusters, seed {seed}"
    if not os.access(BINARY, os.X_OK):
        tap.not_ok(name, f"{BINARY} is not there; make builds it")
        return 1
    if not schemas:
        tap.skip("generate beside a cluster, against Istio's CRDs",
                 f"no istio-crds in {validate_crds.SHARED}; set EA_SHARED; all other rules are checked")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the folders go away
    wrong, seen = run_sets(count, seed, schemas)
    wanted = ["ServiceEntry", "DestinationRule", "VirtualService", "wildcards", "updates", "in the way"]
    if wrong:
        tap.not_ok(name, f"{len(wrong)} wrong; {wrong[0]}")
    elif count >= 100 and not all(seen[what] for what in wanted):
        tap.not_ok(name, f"some were never seen, so nothing was tested: {dict(seen)}")
    else:
        tap.ok(f"{name}: {', '.join(f'{n} {what}' for what, n in sorted(seen.items()))}")
    return int(tap.failed)


if __name__ == "__main__":
    sys.exit(main())
