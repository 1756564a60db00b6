#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Are these Kubernetes objects sound: for Kubernetes, in themselves, and for the product?

Owns: the rules. Must not know how objects were rendered.

	check_deploy.py --objects FILE... --agent BINARY --repository DIR [--openapi swagger.json]

Prints a line a rule, `ok<TAB>RULE` or `not ok<TAB>RULE<TAB>WHY`. The rules are then tried on objects that were broken on
purpose, one change at a time; a change that no rule finds is a failure, too.
"""
import argparse
import copy
import json
import os
import re
import subprocess
import sys

import jsonschema
import yaml

READ = ["get", "list", "watch"]
CUSTOM = {"PodMonitor", "PrometheusRule", "SecurityContextConstraints"}  # not in Kubernetes' own OpenAPI
DASHBOARD_MAX = 256 << 10  # of the annotation in which `kubectl apply` keeps what it applied


class Rules:
    """Each method `rule_*` yields what is wrong; its first line of documentation is the rule's name."""

    def __init__(self, options):
        self.openapi = strict(options.openapi) if options.openapi else None
        self.components = os.path.join(options.repository, "deploy", "components")
        self.help = said(options.agent, "run", "--help")
        self.needed = set(re.findall(r"CAP_([A-Z_]+)", next(
            line for line in said(options.agent, "check").splitlines() if " capabilities " in line)))
        with open(os.path.join(options.repository, "README.md"), encoding="utf-8") as file:
            self.readme = file.read()
        with open(os.path.join(options.repository, "user", "api.c"), encoding="utf-8") as file:
            self.routes = set(re.findall(r'"(/[a-z0-9/]*)"', file.read()))

    def run(self, objects):
        """Everything that is wrong, by rule; without the OpenAPI."""
        rules = [getattr(self, name) for name in sorted(dir(self)) if name.startswith("rule_")]
        if not Objects(objects).of("SecurityContextConstraints"):
            rules.remove(self.rule_scc)
        return {rule.__doc__: list(rule(Objects(objects))) for rule in rules}

    def schema(self, objects):
        """What Kubernetes' OpenAPI says against the objects."""
        for one in objects:
            if one["kind"] in CUSTOM:
                continue
            group, _, version = one["apiVersion"].rpartition("/")
            schema = self.openapi.get((group, version, one["kind"]))
            if not schema:
                yield f"{one['kind']} of {one['apiVersion']} is unknown"
                continue
            for error in jsonschema.Draft4Validator(schema).iter_errors(one):
                yield f"{one['kind']}: {'.'.join(map(str, error.path))}: {error.message[:150]}"

    def rule_reads_only(self, objects):
        """roles have no verb but get, list and watch, and no wildcard"""
        roles = objects.of("ClusterRole") + objects.of("Role")
        if not roles:
            yield "there is no role"
        for rule in (rule for role in roles for rule in role["rules"]):
            if sorted(rule["verbs"]) != READ:
                yield f"verbs {rule['verbs']}"
            if "*" in rule["apiGroups"] + rule["resources"] or "secrets" in rule["resources"]:
                yield f"resources {rule['resources']} of {rule['apiGroups']}"

    def rule_binding(self, objects):
        """the role is bound to the account that the pods have, and to no other"""
        for binding in objects.of("ClusterRoleBinding"):
            if binding["roleRef"]["name"] not in [role["metadata"]["name"] for role in objects.of("ClusterRole")]:
                yield f"no role {binding['roleRef']['name']}"
            subjects = [(one["kind"], one["namespace"], one["name"]) for one in binding["subjects"]]
            want = ("ServiceAccount", objects.namespace, objects.pod.get("serviceAccountName"))
            if subjects != [want]:
                yield f"bound to {subjects}, pods are {want}"

    def rule_places(self, objects):
        """everything stands in the one namespace there is, and what pods name exists"""
        for one in objects.all:
            if one["metadata"].get("namespace", objects.namespace) != objects.namespace:
                yield f"{one['kind']} in {one['metadata']['namespace']}"
        accounts = [one["metadata"]["name"] for one in objects.of("ServiceAccount")]
        if objects.pod.get("serviceAccountName") not in accounts:
            yield f"no account {objects.pod.get('serviceAccountName')}"
        if objects.pod.get("priorityClassName") not in [
                one["metadata"]["name"] for one in objects.of("PriorityClass")]:
            yield f"no priority class {objects.pod.get('priorityClassName')}"
        maps = [one["metadata"]["name"] for one in objects.of("ConfigMap")]
        for source in objects.container.get("envFrom", []) if maps else []:
            if source["configMapRef"]["name"] not in maps:
                yield f"no ConfigMap {source['configMapRef']['name']}"

    def rule_privilege(self, objects):
        """the container has no privilege beyond its capabilities"""
        pod, container = objects.pod, objects.container
        security = container.get("securityContext", {})
        for name, want in (("privileged", False), ("allowPrivilegeEscalation", False),
                           ("readOnlyRootFilesystem", True)):
            if security.get(name) is not want:
                yield f"{name} is {security.get(name)}"
        for name in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"):
            if pod.get(name):
                yield name
        if pod.get("securityContext", {}).get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield "seccompProfile"
        if any("hostPort" in port for port in container["ports"]):
            yield "hostPort"

    def rule_capabilities(self, objects):
        """capabilities are what `check` asks for and the README names, all else is dropped"""
        change = objects.container.get("securityContext", {}).get("capabilities", {})
        if change.get("drop") != ["ALL"]:
            yield f"dropped: {change.get('drop')}"
        if set(change.get("add", [])) != self.needed:
            yield f"{change.get('add')}, check wants {sorted(self.needed)}"
        if ", ".join(f"CAP_{name}" for name in sorted(self.needed)) not in self.readme:
            yield "the README does not name them"

    def rule_volumes(self, objects):
        """of the host only the cgroup tree, read-only, and bpffs; each volume is mounted"""
        paths = {one["name"]: one["hostPath"]["path"] for one in objects.pod["volumes"] if "hostPath" in one}
        if sorted(paths.values()) != ["/sys/fs/bpf", "/sys/fs/cgroup"]:
            yield f"hostPath {sorted(paths.values())}"
        mounts = {one["name"]: one for one in objects.container["volumeMounts"]}
        if set(mounts) != {one["name"] for one in objects.pod["volumes"]}:
            yield f"mounted: {sorted(mounts)}"
        for name, path in paths.items():
            if path == "/sys/fs/cgroup" and not mounts.get(name, {}).get("readOnly"):
                yield "the cgroup tree is writable"
            # The runtimes' AppArmor profile denies writing below /sys.
            if mounts.get(name, {}).get("mountPath", "").startswith("/sys"):
                yield f"{mounts[name]['mountPath']} is below /sys"

    def rule_options(self, objects):
        """every option is one of `run`, and the paths among them are mounted"""
        container = objects.container
        data = [one.get("data", {}) for one in objects.of("ConfigMap")]
        names = [one["name"] for one in container["env"]] + [key for one in data for key in one]
        words = [word.split("=")[0] for word in container["args"] if word.startswith("-")]
        words += ["--" + name[len("EGRESS_AGENT_"):].lower().replace("_", "-")
                  for name in names if name.startswith("EGRESS_AGENT_")]
        for word in words:
            if not re.search(rf"^ *(-., )?{re.escape(word)}\b", self.help, re.M):
                yield f"{word} is not in `run --help`"
        mounts = [one["mountPath"] for one in container["volumeMounts"]]
        for one in container["env"]:
            path = str(one.get("value", ""))
            if path.startswith("/") and not any((path + "/").startswith(mount + "/") for mount in mounts):
                yield f"{one['name']}={path} is on no volume"
        if "/run/egress-agent" not in mounts:
            yield "the socket's folder is not writable"
        if objects.pod.get("enableServiceLinks") is not False:
            yield "a Service's variables could be taken for options"

    def rule_ports(self, objects):
        """one port name and number for the option, the container, its probes, the Service and the monitors"""
        ports = {one["name"]: one["containerPort"] for one in objects.container["ports"]}
        listen = [int(word.rsplit(":", 1)[1]) for word in objects.container["args"] if word.startswith("--listen=")]
        if list(ports.values()) != listen:
            yield f"listens on {listen}, container port {ports}"
        for service in objects.of("Service"):
            if service["spec"].get("clusterIP") != "None":
                yield "the Service is not headless"
            for port in service["spec"]["ports"]:
                if port["targetPort"] not in ports or port["port"] != ports[port["targetPort"]]:
                    yield f"Service port {port}"
        for monitor in objects.of("PodMonitor"):
            for end in monitor["spec"]["podMetricsEndpoints"]:
                if end["port"] not in ports or end["path"] not in self.routes:
                    yield f"PodMonitor {end['port']}{end['path']}"
        for policy in objects.of("NetworkPolicy"):
            for end in (port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]):
                if end not in ports:
                    yield f"NetworkPolicy {end}"
        notes = objects.template["metadata"].get("annotations", {})
        if "prometheus.io/port" in notes and (int(notes["prometheus.io/port"]) not in ports.values() or
                                              notes["prometheus.io/path"] not in self.routes):
            yield "prometheus.io annotations"

    def rule_probes(self, objects):
        """probes ask for /healthz and /readyz, which the product serves, on its port"""
        ports = {one["name"] for one in objects.container["ports"]}
        for name, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
            get = objects.container.get(name, {}).get("httpGet", {})
            if get.get("path") != path or path not in self.routes:
                yield f"{name} asks for {get.get('path')}"
            if get.get("port") not in ports:
                yield f"{name} on port {get.get('port')}"

    def rule_tls(self, objects):
        """HTTPS with a mounted Secret for the agent, its probes and whoever scrapes it, or for none of them"""
        container = objects.container
        data = {key: text for one in objects.of("ConfigMap") for key, text in one.get("data", {}).items()}
        data.update({one["name"]: one.get("value", "") for one in container["env"]})
        paths = {name: data[f"EGRESS_AGENT_{name}"] for name in ("TLS_CERT", "TLS_KEY", "CLIENT_CA")
                 if f"EGRESS_AGENT_{name}" in data}
        if paths and not {"TLS_CERT", "TLS_KEY"} <= set(paths):
            yield f"only {sorted(paths)}"
        scheme = "https" if paths else "http"
        for name in ("startupProbe", "livenessProbe", "readinessProbe"):
            if container.get(name, {}).get("httpGet", {}).get("scheme", "HTTP") != scheme.upper():
                yield f"{name} is not over {scheme}"
        yield from self.tls_secret(objects, paths)
        notes = objects.template["metadata"].get("annotations", {})
        if "prometheus.io/port" in notes and notes.get("prometheus.io/scheme", "http") != scheme:
            yield f"prometheus.io annotations are not for {scheme}"
        for end in (end for one in objects.of("PodMonitor") for end in one["spec"]["podMetricsEndpoints"]):
            if end.get("scheme", "http") != scheme:
                yield f"the PodMonitor is not for {scheme}"
            # By address there is no name to compare: it must say which one it means.
            tls = {"ca": {"secret": {"name": self.secret, "key": "ca.crt"}},
                   "serverName": f"{objects.of('Service')[0]['metadata']['name']}.{objects.namespace}.svc"}
            if "CLIENT_CA" in paths:
                tls["cert"] = {"secret": {"name": "egress-agent-scraper", "key": "tls.crt"}}
                tls["keySecret"] = {"name": "egress-agent-scraper", "key": "tls.key"}
            if end.get("tlsConfig") != (tls if paths else None):
                yield f"the PodMonitor trusts {end.get('tlsConfig')}"

    secret = "egress-agent-tls"

    def tls_secret(self, objects, paths):
        """What is wrong with where the files of these options come from."""
        volumes = {one["name"]: one["secret"] for one in objects.pod["volumes"] if "secret" in one}
        if [one["secretName"] for one in volumes.values()] != ([self.secret] if paths else []):
            yield f"Secrets {list(volumes.values())}"
        for mount in (one for one in objects.container["volumeMounts"] if one["name"] in volumes):
            if not mount.get("readOnly") or "subPath" in mount:
                yield f"mount {mount}"
            for name, file in (("TLS_CERT", "tls.crt"), ("TLS_KEY", "tls.key"), ("CLIENT_CA", "ca.crt")):
                if paths.get(name, f"{mount['mountPath']}/{file}") != f"{mount['mountPath']}/{file}":
                    yield f"{name} is {paths[name]}"

    def rule_selectors(self, objects):
        """selectors find the pods"""
        labels = objects.template["metadata"]["labels"]
        chosen = [objects.daemonset["spec"]["selector"]["matchLabels"]]
        chosen += [one["spec"]["selector"] for one in objects.of("Service")]
        chosen += [one["spec"]["selector"]["matchLabels"] for one in objects.of("PodMonitor")]
        chosen += [one["spec"]["podSelector"]["matchLabels"] for one in objects.of("NetworkPolicy")]
        for selector in chosen:
            if not selector.items() <= labels.items():
                yield f"{selector} are not labels of the pods"

    def rule_everywhere(self, objects):
        """on every Linux node, outside the mesh, one at a time, with limits"""
        pod, labels = objects.pod, objects.template["metadata"]["labels"]
        if pod.get("tolerations") != [{"operator": "Exists"}] or \
                pod.get("nodeSelector") != {"kubernetes.io/os": "linux"}:
            yield "tolerations and nodeSelector"
        if labels.get("sidecar.istio.io/inject") != "false" or labels.get("istio.io/dataplane-mode") != "none":
            yield "the mesh may take it in"
        update = objects.daemonset["spec"]["updateStrategy"]
        if update["type"] != "RollingUpdate" or update["rollingUpdate"].get("maxSurge") != 0:
            yield "two agents may meet on a node"
        resources = objects.container.get("resources", {})
        if not {"cpu", "memory"} <= set(resources.get("requests", {})) or "memory" not in resources.get("limits", {}):
            yield f"resources {resources}"
        level = objects.of("Namespace")[0]["metadata"]["labels"].get("pod-security.kubernetes.io/enforce")
        if level != "privileged":
            yield f"Pod Security level {level} forbids hostPath and the capabilities"

    def rule_monitoring(self, objects):
        """rules and dashboard arrive as they stand in the repository, labelled for whoever looks for them"""
        for one in objects.of("PrometheusRule"):
            with open(os.path.join(self.components, "prometheus-rules", "prometheusrule.yaml"), encoding="utf-8") as file:
                if one["spec"] != yaml.safe_load(file)["spec"]:
                    yield "the PrometheusRule is another one"
        for one in (one for one in objects.of("ConfigMap") if "dashboard" in one["metadata"]["name"]):
            if one["metadata"].get("labels", {}).get("grafana_dashboard") != "1" or one["metadata"]["name"] != "egress-agent-dashboard":
                yield f"Grafana's sidecar does not find {one['metadata']['name']}"
            for name, text in one["data"].items():
                with open(os.path.join(self.components, "grafana-dashboard", name), encoding="utf-8") as file:
                    if json.loads(text) != json.load(file):
                        yield f"{name} is another one"
            if len(json.dumps(one)) > DASHBOARD_MAX:
                yield "kubectl apply has no room for it"

    def rule_scc(self, objects):
        """OpenShift's constraints allow what the DaemonSet uses, and nothing else"""
        for scc in objects.of("SecurityContextConstraints"):
            if set(scc["allowedCapabilities"]) != self.needed or scc["requiredDropCapabilities"] != ["ALL"]:
                yield f"capabilities {scc['allowedCapabilities']}"
            if scc["users"] != [f"system:serviceaccount:{objects.namespace}:{objects.pod['serviceAccountName']}"]:
                yield f"users {scc['users']}"
            for name, value in scc.items():
                if name.startswith("allow") and value is True and name != "allowHostDirVolumePlugin":
                    yield name
            kinds = {kind for one in objects.pod["volumes"] for kind in one if kind != "name"}
            if not kinds | {"projected"} <= set(scc["volumes"]) or "*" in scc["volumes"]:
                yield f"volumes {scc['volumes']}"
            if objects.pod["securityContext"].get("seLinuxOptions") != scc["seLinuxContext"]["seLinuxOptions"]:
                yield "the pod's SELinux type"


class Objects:
    """The objects of one installation and the way to those that rules ask for."""

    def __init__(self, objects):
        self.all = objects
        (self.daemonset,) = self.of("DaemonSet")
        self.template = self.daemonset["spec"]["template"]
        self.pod = self.template["spec"]
        (self.container,) = self.pod["containers"]
        self.namespace = self.of("Namespace")[0]["metadata"]["name"]

    def of(self, kind):
        """All objects of a kind."""
        return [one for one in self.all if one["kind"] == kind]


def said(*command):
    """What a command printed, whatever its status: `check` fails without privileges and says the same."""
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout


def strict(path):
    """Kubernetes' Swagger 2 as one JSON schema a kind; a field that it does not name is an error."""
    with open(path, encoding="utf-8") as file:
        definitions = json.load(file)["definitions"]
    for name, schema in definitions.items():
        if schema.get("format") == "int-or-string" or name.endswith(".JSONSchemaPropsOrBool"):
            definitions[name] = {"type": ["integer", "string"]}
        elif "properties" in schema and "additionalProperties" not in schema:
            schema["additionalProperties"] = False
    kinds = {}
    for name, schema in definitions.items():
        for kind in schema.get("x-kubernetes-group-version-kind", []):
            kinds[kind["group"], kind["version"], kind["kind"]] = {
                "$ref": f"#/definitions/{name}", "definitions": definitions}
    return kinds


def broken(objects):
    """Changes that are to be found: what was done, and a function that does it."""
    def container(objects):
        return Objects(objects).container

    def pod(objects):
        return Objects(objects).pod

    def first(objects, kind):
        return Objects(objects).of(kind)[0]

    changes = {
        "a role that writes": lambda o: first(o, "ClusterRole")["rules"][0]["verbs"].append("update"),
        "a role over secrets": lambda o: first(o, "ClusterRole")["rules"][0]["resources"].append("secrets"),
        "another account bound": lambda o: first(o, "ClusterRoleBinding")["subjects"][0].update(name="default"),
        "an account that is not there": lambda o: pod(o).update(serviceAccountName="other"),
        "a priority class that is not there": lambda o: pod(o).update(priorityClassName="high"),
        "privileged": lambda o: container(o)["securityContext"].update(privileged=True),
        "a writable root": lambda o: container(o)["securityContext"].update(readOnlyRootFilesystem=False),
        "escalation": lambda o: container(o)["securityContext"].pop("allowPrivilegeEscalation"),
        "the host's network": lambda o: pod(o).update(hostNetwork=True),
        "the host's processes": lambda o: pod(o).update(hostPID=True),
        "no seccomp": lambda o: pod(o)["securityContext"].pop("seccompProfile"),
        "CAP_SYS_ADMIN": lambda o: container(o)["securityContext"]["capabilities"]["add"].append("SYS_ADMIN"),
        "no CAP_PERFMON": lambda o: container(o)["securityContext"]["capabilities"]["add"].remove("PERFMON"),
        "capabilities kept": lambda o: container(o)["securityContext"]["capabilities"].pop("drop"),
        "the host's root": lambda o: named(pod(o)["volumes"], "cgroup")["hostPath"].update(path="/"),
        "a writable cgroup tree": lambda o: named(container(o)["volumeMounts"], "cgroup").pop("readOnly"),
        "a mount below /sys": lambda o: named(container(o)["volumeMounts"], "bpf").update(mountPath="/sys/fs/bpf"),
        "an unknown option": lambda o: container(o)["args"].append("--lisen=:1"),
        "an unknown variable": lambda o: container(o)["env"].append({"name": "EGRESS_AGENT_CGRUP", "value": "x"}),
        "a pin on no volume": lambda o: named(container(o)["env"], "EGRESS_AGENT_PIN").update(value="/sys/fs/bpf/x"),
        "another container port": lambda o: container(o)["ports"][0].update(containerPort=9991),
        "another target port": lambda o: first(o, "Service")["spec"]["ports"][0].update(targetPort="metrics"),
        "a Service with an address": lambda o: first(o, "Service")["spec"].pop("clusterIP"),
        "a probe of nothing": lambda o: container(o)["livenessProbe"]["httpGet"].update(path="/health"),
        "no readiness": lambda o: container(o).pop("readinessProbe"),
        "other pod labels": lambda o: Objects(o).template["metadata"]["labels"].update({"app.kubernetes.io/name": "x"}),
        "a sidecar": lambda o: Objects(o).template["metadata"]["labels"].pop("sidecar.istio.io/inject"),
        "no tolerations": lambda o: pod(o).pop("tolerations"),
        "a surge": lambda o: Objects(o).daemonset["spec"]["updateStrategy"]["rollingUpdate"].update(maxSurge=1),
        "no memory limit": lambda o: container(o)["resources"].pop("limits"),
        "Pod Security baseline": lambda o: first(o, "Namespace")["metadata"]["labels"].update(
            {"pod-security.kubernetes.io/enforce": "baseline"}),
        "a probe over another scheme": lambda o: other_scheme(
            container(o)["readinessProbe"]["httpGet"], "scheme", "HTTP"),
        "an authority for clients and no certificate": lambda o: container(o).update(
            env=[one for one in container(o)["env"] if "_TLS_" not in one["name"]] +
            [{"name": "EGRESS_AGENT_CLIENT_CA", "value": "/tls/ca.crt"}]),
        "another namespace": lambda o: first(o, "Service")["metadata"].update(namespace="default"),
    }
    if Objects(objects).of("PodMonitor"):
        changes["a monitor of another port"] = lambda o: \
            first(o, "PodMonitor")["spec"]["podMetricsEndpoints"][0].update(port="metrics")
        changes["a monitor for another scheme"] = lambda o: \
            other_scheme(first(o, "PodMonitor")["spec"]["podMetricsEndpoints"][0], "scheme", "http")
    if "prometheus.io/port" in Objects(objects).template["metadata"].get("annotations", {}):
        changes["annotations for another scheme"] = lambda o: other_scheme(
            Objects(o).template["metadata"]["annotations"], "prometheus.io/scheme", "http")
    if any("secret" in one for one in pod(objects)["volumes"]):
        of_pods, of_monitors = broken_tls(container, pod, first)
        changes.update({**of_pods, **of_monitors} if Objects(objects).of("PodMonitor") else of_pods)
    if Objects(objects).of("PrometheusRule"):
        changes["a rule less"] = lambda o: first(o, "PrometheusRule")["spec"]["groups"][0]["rules"].pop()
    if dashboards(objects):
        changes["a dashboard that nobody finds"] = lambda o: dashboards(o)[0]["metadata"]["labels"].pop("grafana_dashboard")
    if Objects(objects).of("SecurityContextConstraints"):
        changes["constraints that allow privilege"] = lambda o: \
            first(o, "SecurityContextConstraints").update(allowPrivilegedContainer=True)
        changes["another SELinux type"] = lambda o: pod(o)["securityContext"].pop("seLinuxOptions")
    return changes


def named(items, name):
    """The one of this name; a component may put others before it."""
    return next(one for one in items if one["name"] == name)


def broken_tls(container, pod, first):
    """The same, of objects with HTTPS."""
    def variable(objects, name):
        return named(container(objects)["env"], name)

    def volume(objects):
        return next(one for one in pod(objects)["volumes"] if "secret" in one)

    def mount(objects):
        return named(container(objects)["volumeMounts"], volume(objects)["name"])

    def end(objects):
        return first(objects, "PodMonitor")["spec"]["podMetricsEndpoints"][0]

    return {
        "a certificate without a key": lambda o: container(o)["env"].remove(variable(o, "EGRESS_AGENT_TLS_KEY")),
        "a key that is the certificate": lambda o: variable(o, "EGRESS_AGENT_TLS_KEY").update(value="/tls/tls.crt"),
        "a certificate on no volume": lambda o: variable(o, "EGRESS_AGENT_TLS_CERT").update(value="/etc/tls.crt"),
        "another Secret": lambda o: volume(o)["secret"].update(secretName="other"),
        "a file that is never renewed": lambda o: mount(o).update(subPath="tls.crt"),
        "a writable mount": lambda o: mount(o).pop("readOnly"),
    }, {
        "a monitor that trusts anybody": lambda o: end(o).update(tlsConfig={"insecureSkipVerify": True}),
        "a monitor that does not say whom it means": lambda o: end(o)["tlsConfig"].pop("serverName"),
        "a monitor that shows a key of the agents": lambda o: end(o)["tlsConfig"].update(
            cert={"secret": {"name": "egress-agent-tls", "key": "tls.crt"}}),
    }


def other_scheme(where, key, default):
    """Turn one into the other."""
    where[key] = {"HTTP": "HTTPS", "HTTPS": "HTTP", "http": "https", "https": "http"}[where.get(key, default)]


def broken_for_openapi():
    """Changes that only the schema can find."""
    return {
        "a misspelt field": lambda o: Objects(o).pod.update(tolerationz=[]),
        "a number for a string": lambda o: Objects(o).container["env"][0].update(value=1),
        "a kind that is not there": lambda o: o[0].update(apiVersion="v2"),
        "a mount without a name": lambda o: Objects(o).container["volumeMounts"][0].pop("name"),
    }


def dashboards(objects):
    """The ConfigMaps that hold one."""
    return [one for one in Objects(objects).of("ConfigMap") if "dashboard" in one["metadata"]["name"]]


def report(name, wrong):
    """One line of the result."""
    print("\t".join(["not ok", name, "; ".join(wrong)] if wrong else ["ok", name]))


def unnoticed(judge, objects, changes):
    """Those changes about which the judge says nothing new."""
    before = judge(objects)
    for name, change in changes.items():
        other = copy.deepcopy(objects)
        change(other)
        if judge(other) == before:
            yield name


def main():
    """Check the objects, then the rules."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--objects", nargs="+", required=True)
    parser.add_argument("--agent", required=True)
    parser.add_argument("--repository", required=True)
    parser.add_argument("--openapi")
    options = parser.parse_args()
    objects = []
    for path in options.objects:
        with open(path, encoding="utf-8") as file:
            objects += [one for one in yaml.safe_load_all(file) if one]
    rules = Rules(options)
    for name, wrong in rules.run(objects).items():
        report(name, wrong)
    changes = broken(objects)
    report(f"{len(changes)} faults made on purpose are found", list(unnoticed(rules.run, objects, changes)))
    if options.openapi:
        judge = lambda objects: list(rules.schema(objects))
        report("objects agree with Kubernetes' OpenAPI, unknown fields refused", judge(objects))
        report(f"{len(broken_for_openapi())} faults made on purpose are found by it",
               list(unnoticed(judge, objects, broken_for_openapi())))


if __name__ == "__main__":
    sys.exit(main())
