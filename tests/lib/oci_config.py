#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""What a container runtime makes of the DaemonSet: an OCI config.json on stdout.

Owns: the way from a pod's fields to runc's, as containerd's CRI plugin goes it: capabilities, read-only root,
no_new_privs, seccomp, masked paths, mounts and their propagation, environment, memory limit.
Must not know: what the agent is, or what a test expects of it. A field that it does not know is an error, so that
nothing in the manifest is left out of the proof in silence.

	oci_config.py --deploy DIR --root DIR --netns PATH --seccomp FILE --cgroup PATH [--host PATH=DIR]...
		[--field PATH=VALUE]... [--empty NAME=DIR]... [--drop CAP] [--run ARG...]

--cgroup: the container's own. --host: where a hostPath is on this machine. --field: what fieldRef PATH is. --empty: the
directory of an emptyDir. --drop: a capability that is left out. --run: other arguments than the manifest's.
"""
import argparse
import json
import os
import re
import sys

import yaml

# What containerd mounts and hides in every container, see its documentation of the CRI plugin.
MOUNTS = [
    ("/proc", "proc", "proc", ["nosuid", "noexec", "nodev"]),
    ("/dev", "tmpfs", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=65536k"]),
    ("/dev/pts", "devpts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
    ("/dev/mqueue", "mqueue", "mqueue", ["nosuid", "noexec", "nodev"]),
    ("/dev/shm", "tmpfs", "shm", ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]),
    ("/sys", "sysfs", "sysfs", ["nosuid", "noexec", "nodev", "ro"]),
    ("/sys/fs/cgroup", "cgroup", "cgroup", ["nosuid", "noexec", "nodev", "relatime", "ro"]),
]
MASKED = ["/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
          "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"]
READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
PROPAGATION = {None: "rprivate", "None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
# A profile's word for this machine, and the kernel's.
ARCHES = {"x86_64": ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]),
          "aarch64": ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])}
ARCH, ARCH_FILTERS = ARCHES[os.uname().machine]
UNITS = {"": 1, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30}

# Fields with no say in how the container is made: scheduling, identity, the kubelet's own doings.
POD_OTHER = {"serviceAccountName", "automountServiceAccountToken", "enableServiceLinks", "priorityClassName",
             "nodeSelector", "tolerations", "terminationGracePeriodSeconds"}
CONTAINER_OTHER = {"name", "image", "imagePullPolicy", "ports", "startupProbe", "livenessProbe", "readinessProbe",
                   "terminationMessagePolicy"}


def die(why):
    sys.exit(f"oci_config: {why}")


def take(fields, known, where):
    """The values of `known`; any other field is an error."""
    fields = dict(fields)
    values = [fields.pop(name, None) for name in known]
    if fields:
        die(f"{where}: nothing is known of {', '.join(sorted(fields))}")
    return values


def load(deploy, name):
    with open(os.path.join(deploy, "base", name), encoding="utf-8") as file:
        return yaml.safe_load(file)


def entrypoint(deploy):
    with open(os.path.join(deploy, "Dockerfile"), encoding="utf-8") as file:
        found = re.findall(r"^ENTRYPOINT (\[.*\])$", file.read(), re.M)
    return json.loads(found[-1])


def generated(deploy, name):
    """The literals of one generated ConfigMap."""
    for one in load(deploy, "kustomization.yaml").get("configMapGenerator", []):
        if one["name"] == name:
            return one["literals"]
    return die(f"no ConfigMap {name} in kustomization.yaml")


def environment(container, deploy, fields):
    env = ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    for source in container.pop("envFrom", []):
        (reference,) = take(source, ["configMapRef"], "envFrom")
        env += generated(deploy, reference["name"])
    for one in container.pop("env", []):
        name, value, origin = take(one, ["name", "value", "valueFrom"], "env")
        if origin:
            (reference,) = take(origin, ["fieldRef"], name)
            value = fields[reference["fieldPath"]]
        env.append(f"{name}={value}")
    return env


def volumes(pod, host, empty):
    """Directory on this machine and mount type, by volume name."""
    found = {}
    for volume in pod.pop("volumes", []):
        name, path, memory = take(volume, ["name", "hostPath", "emptyDir"], "volumes")
        found[name] = host[path["path"]] if path else empty[name]
        if path and path.get("type") != "Directory":
            die(f"volume {name}: hostPath of type {path.get('type')}, not Directory")
        if not path and memory is None:
            die(f"volume {name} is of no known kind")
    return found


def mounts(container, sources):
    made = [dict(zip(("destination", "type", "source", "options"), one)) for one in MOUNTS]
    for mount in container.pop("volumeMounts", []):
        name, path, readonly, propagation = take(
            mount, ["name", "mountPath", "readOnly", "mountPropagation"], "volumeMounts")
        options = ["rbind", PROPAGATION[propagation], "ro" if readonly else "rw"]
        made.append({"destination": path, "type": "bind", "source": sources[name], "options": options})
    return made


def capabilities(security, dropped):
    change = security.pop("capabilities", {})
    if change.get("drop") != ["ALL"]:
        die("capabilities: the manifest does not drop ALL")
    added = ["CAP_" + name for name in change.get("add", [])]
    if dropped and dropped not in added:
        die(f"capabilities: {dropped} is not among {added}")
    kept = [name for name in added if name != dropped]
    # Root's inheritable and ambient sets are empty: what runs later cannot regain anything.
    return {"bounding": kept, "effective": kept, "permitted": kept, "inheritable": [], "ambient": []}


def applies(rule, caps):
    """Does a rule of a profile hold for a container with these capabilities, on this machine?"""
    includes, excludes = rule.get("includes") or {}, rule.get("excludes") or {}
    if ARCH in (excludes.get("arches") or []) or set(excludes.get("caps") or []) & set(caps):
        return False
    if includes.get("arches") and ARCH not in includes["arches"]:
        return False
    return set(includes.get("caps") or []) <= set(caps)


def seccomp(path, caps):
    """A profile of Docker's or Podman's kind, settled for these capabilities as the runtimes do."""
    with open(path, encoding="utf-8") as file:
        profile = json.load(file)
    keep = ("names", "action", "args", "errnoRet")
    rules = [{key: rule[key] for key in keep if rule.get(key) is not None}
             for rule in profile["syscalls"] if applies(rule, caps)]
    settled = {"defaultAction": profile["defaultAction"], "syscalls": rules,
               "architectures": ARCH_FILTERS}
    if "defaultErrnoRet" in profile:
        settled["defaultErrnoRet"] = profile["defaultErrnoRet"]
    # runc refuses rules that only repeat the default.
    settled["syscalls"] = [rule for rule in rules if rule["action"] != settled["defaultAction"] or
                           rule.get("errnoRet", 1) != settled.get("defaultErrnoRet", 1)]
    return settled


def memory_limit(container):
    limit = container.pop("resources", {}).get("limits", {}).get("memory", "")
    found = re.fullmatch(r"(\d+)(|Ki|Mi|Gi)", limit)
    return int(found[1]) * UNITS[found[2]] if found else die(f"memory limit '{limit}'")


def settle(pod, container):
    """Both security contexts as one, checked for all that the container is not to have."""
    user, group, profile = take(pod.pop("securityContext", {}), ["runAsUser", "runAsGroup", "seccompProfile"],
                                "pod securityContext")
    security = container.pop("securityContext", {})
    if profile != {"type": "RuntimeDefault"}:
        die(f"seccomp profile {profile}")
    if security.pop("privileged", False) or pod.pop("hostNetwork", False) or pod.pop("hostPID", False):
        die("privileged, hostNetwork and hostPID are not to be")
    return user, group, security


def config(options):
    pod = load(options.deploy, "daemonset.yaml")["spec"]["template"]["spec"]
    (container,) = pod.pop("containers")
    user, group, security = settle(pod, container)
    caps = capabilities(security, options.drop)
    args = container.pop("args", [])
    escalation, readonly = take(security, ["allowPrivilegeEscalation", "readOnlyRootFilesystem"], "securityContext")
    made = {
        "ociVersion": "1.0.2", "hostname": "agent",
        "process": {"user": {"uid": user, "gid": group}, "cwd": "/", "capabilities": caps,
                    "args": entrypoint(options.deploy) + (options.run or args),
                    "env": environment(container, options.deploy, options.field),
                    "noNewPrivileges": escalation is False},
        "root": {"path": os.path.abspath(options.root), "readonly": bool(readonly)},
        "mounts": mounts(container, volumes(pod, options.host, options.empty)),
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "cgroup")] +
                          [{"type": "network", "path": options.netns}],
            "cgroupsPath": options.cgroup,
            "resources": {"memory": {"limit": memory_limit(container)}},
            "maskedPaths": MASKED, "readonlyPaths": READONLY,
            "seccomp": seccomp(options.seccomp, caps["permitted"]),
        },
    }
    take({key: value for key, value in pod.items() if key not in POD_OTHER}, [], "pod")
    take({key: value for key, value in container.items() if key not in CONTAINER_OTHER}, [], "container")
    return made


def main():
    pair = lambda word: tuple(word.split("=", 1))
    parser = argparse.ArgumentParser()
    for name in ("deploy", "root", "netns", "seccomp", "cgroup"):
        parser.add_argument("--" + name, required=True)
    for name in ("host", "field", "empty"):
        parser.add_argument("--" + name, action="append", default=[], type=pair)
    parser.add_argument("--drop")
    parser.add_argument("--run", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    for name in ("host", "field", "empty"):
        setattr(options, name, dict(getattr(options, name)))
    json.dump(config(options), sys.stdout, indent=1)


if __name__ == "__main__":
    main()
