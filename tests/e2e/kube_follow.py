#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""
The client of the Kubernetes API against the stand-in server: whatever happens to the connection, in the end the
client's cache is the server's truth, and every container has the name of its pod's workload.

Owns: random sequences of events and faults, and what the cache must be after them. The names that pods must get are
known from how they are made, not from Istio's rules written down a second time. Must not know: the client's insides.

    kube_follow.py [SEED...]        the random sequences only, with these seeds
"""
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPO = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "lib"))
import apiserver  # noqa: E402

SEEDS = (1, 2, 3, 4, 5)
EVENTS = 1000
DEADLINE_S = 20
NODE = "n1"
WATCHED = ["pods", "services", "serviceentries", "destinationrules", "sidecars", "virtualservices"]
NAMESPACES = ["shop", "test-ext-svc", "default"]
FAILED = 0


def say(ok, name, why=""):
    global FAILED
    FAILED += not ok
    why = "".join(c if c.isprintable() else "?" for c in why)[:800]
    print(f"ok - {name}" if ok else f"not ok - {name}: {why}", flush=True)


def path_of(plural):
    return f"{apiserver.RESOURCES[plural][0]}/{plural}"


class Probe:
    """The client, in a process of its own."""

    def __init__(self, api, plurals=None, binary="kube_probe_san", options=(), url=None, ca="ca.crt"):
        paths = [path_of(p) + (f"?spec.nodeName={NODE}" if p == "pods" else "") for p in plurals or WATCHED]
        self.process = subprocess.Popen(
            [REPO / "build" / binary, *options, url or api.url, api.path("token"), api.path(ca), *paths],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *questions):
        """The answers, each a list of lines."""
        self.process.stdin.write("".join(q + "\n" for q in questions))
        self.process.stdin.flush()
        answers = []
        for _ in questions:
            lines = []
            while (line := self.process.stdout.readline()) != ".\n":
                if not line:
                    raise RuntimeError(f"the client ended, status {self.process.wait()}")
                lines.append(line.rstrip("\n"))
            answers.append(lines)
        return answers

    def status(self, plural="pods"):
        return next(s for s in map(json.loads, self.ask("status")[0]) if s["path"] == path_of(plural))

    def errors(self):
        total = {}
        for s in map(json.loads, self.ask("status")[0]):
            for name, n in s["errors"].items():
                total[name] = total.get(name, 0) + n
        return total

    def close(self):
        self.process.stdin.close()
        return self.process.wait(timeout=DEADLINE_S)


def wait(condition, seconds=DEADLINE_S):
    """Poll until the condition gives nothing to complain about; returns the last complaint."""
    end = time.monotonic() + seconds
    while True:
        why = condition()
        if not why or time.monotonic() > end:
            return why
        time.sleep(0.02)


class Server:
    """with Server() as api: a server in a directory of its own."""

    def __enter__(self):
        self.directory = tempfile.mkdtemp(prefix="kube_follow.")
        self.api = apiserver.ApiServer(self.directory)
        return self.api

    def __exit__(self, *_):
        self.api.stop()
        shutil.rmtree(self.directory)


# ---- pods whose names are known ----

class Pods:
    """Makes and changes pods; remembers what each must be called."""

    def __init__(self, rng):
        self.rng = rng
        self.count = 0
        self.expected = {}    # uid: fields of the answer
        self.containers = {}  # id: (uid, container)
        self.hashes = {}      # a static pod's hash: uid
        self.live = {}        # (namespace, name): object

    def owner(self, kind):
        """(metadata, labels, workload, kind)"""
        rng, n = self.rng, self.count
        word, digest = rng.choice(["web", "api-v2", "curl", "cart"]), f"{rng.randrange(1 << 32):08x}"
        made = {"Deployment": (f"{word}-{digest}", "ReplicaSet", {"pod-template-hash": digest}),
                "Rollout": (f"{word}-{digest}", "ReplicaSet", {"rollouts-pod-template-hash": digest}),
                "ReplicaSet": (word, "ReplicaSet", {}),
                "DeploymentConfig": (f"{word}-3", "ReplicationController", {"deploymentconfig": word}),
                "StatefulSet": (word, "StatefulSet", {}),
                "DaemonSet": (word, "DaemonSet", {}),
                "Job": (f"{word}-once", "Job", {}),
                "CronJob": (f"{word}-{rng.randrange(10 ** 7, 10 ** 10)}", "Job", {})}
        if kind not in made:
            return {"name": f"{word}-{n}"}, {}, f"{word}-{n}", "Pod"
        owner, owner_kind, labels = made[kind]
        name = f"{owner}-{n % 20}" if kind == "StatefulSet" else f"{owner}-{n:05x}"
        workload = word if kind in ("Deployment", "Rollout", "DeploymentConfig", "CronJob") else owner
        return {"name": name, "generateName": f"{owner}-", "ownerReferences": [
            {"kind": "Other", "name": "other"}, {"kind": owner_kind, "name": owner, "controller": True}]}, \
            labels, workload, kind

    def new(self):
        rng = self.rng
        self.count += 1
        kind = rng.choice(["Deployment"] * 4 + ["Rollout", "ReplicaSet", "DeploymentConfig", "StatefulSet",
                                                "DaemonSet", "Job", "CronJob", "Pod", "static"])
        meta, labels, workload, kind_shown = self.owner(kind)
        meta["namespace"] = rng.choice(NAMESPACES)
        if (meta["namespace"], meta["name"]) in self.live:
            return None
        meta["uid"] = f"00000000-0000-4000-8000-{rng.randrange(1 << 48):012x}"
        app, version = rng.choice(["", "shop"]), rng.choice(["", "v1", "v2"])
        labels.update({k: v for k, v in (("app", app), ("version", version)) if v})
        if rng.random() < 0.1:
            labels["service.istio.io/workload-name"] = workload = "named-otherwise"
        meta["labels"] = labels
        meta["annotations"] = {"x": rng.choice(["", "\u00e9\u4e2d\U0001f600", "}]{[\"\\", "\u0001\u007f", "a\nb"])}
        if kind == "static":
            digest = f"{rng.randrange(1 << 128):032x}"
            meta["annotations"].update({"kubernetes.io/config.hash": digest, "kubernetes.io/config.mirror": digest})
            self.hashes[digest] = meta["uid"]
        sidecar = rng.random() < 0.5
        names = ["app"] + ["istio-proxy"] * sidecar
        if sidecar:
            meta["annotations"]["sidecar.istio.io/status"] = json.dumps({"containers": ["istio-proxy"]})
        self.expected[meta["uid"]] = {
            "name": meta["name"], "uid": meta["uid"], "namespace": meta["namespace"], "workload": workload,
            "workloadKind": kind_shown, "canonicalService": app or workload,
            "canonicalRevision": version or "latest", "app": app, "version": version, "sidecar": sidecar}
        return {"kind": "Pod", "metadata": meta,
                "spec": {"containers": [{"name": n} for n in names],
                         **({"nodeName": rng.choice([NODE, NODE, NODE, "n2"])} if rng.random() < 0.7 else {})},
                "status": {"phase": "Pending"}}

    def change(self, pod):
        """What kubelet and the scheduler do to a pod."""
        rng, status = self.rng, pod["status"]
        if "nodeName" not in pod["spec"]:
            pod["spec"]["nodeName"] = rng.choice([NODE, NODE, NODE, "n2"])
        elif "containerStatuses" not in status or rng.random() < 0.3:
            before = {c["name"]: c["containerID"] for c in status.get("containerStatuses", [])}
            status["containerStatuses"] = []
            for c in pod["spec"]["containers"]:
                digest = f"{rng.randrange(1 << 256):064x}"
                entry = {"name": c["name"], "containerID": f"{rng.choice(['containerd', 'cri-o'])}://{digest}"}
                if c["name"] in before:
                    entry["lastState"] = {"terminated": {"containerID": before[c["name"]]}}
                status["containerStatuses"].append(entry)
                if pod["spec"]["nodeName"] == NODE:
                    self.containers[digest] = (pod["metadata"]["uid"], c["name"])
        else:
            status["phase"] = rng.choice(["Running", "Succeeded", "Pending"])


# ---- the random sequence ----

class Sequence:
    """One server, one client, a thousand events."""

    def __init__(self, seed, api):
        self.rng = random.Random(seed)
        self.api, self.store = api, api.store
        self.pods = Pods(self.rng)
        self.large = set()
        self.late_token = 0
        self.applied = {"pods": 0}

    def plural_event(self, plural):
        rng, store = self.rng, self.store
        known = sorted(store.objects[plural])
        roll = rng.random()
        if known and roll < 0.3:
            store.delete(plural, *rng.choice(known))
        else:
            ns, name = rng.choice(known) if known and roll < 0.65 else (
                rng.choice(NAMESPACES), f"{plural[:4]}-{rng.randrange(60)}")
            store.apply({"kind": apiserver.RESOURCES[plural][1], "metadata": {"namespace": ns, "name": name},
                         "spec": {"hosts": [f"h{rng.randrange(1000)}.example"], "fill": "x" * rng.randrange(3000)}})

    def pod_event(self):
        pods, rng = self.pods, self.rng
        roll = rng.random()
        if roll < 0.3 or not pods.live:
            pod = pods.new()
            if pod is None:
                return
            pods.live[(pod["metadata"]["namespace"], pod["metadata"]["name"])] = pod
        else:
            key = rng.choice(sorted(pods.live))
            pod = pods.live[key]
            if roll < 0.5:
                del pods.live[key]
                self.store.delete("pods", *key)
                return
            pods.change(pod)
        self.store.apply(pod)

    def large_event(self):
        """An object beyond what the client takes; or it goes again."""
        if self.large and self.rng.random() < 0.5:
            self.store.delete("services", *self.large.pop())
            return
        name = f"large-{self.rng.randrange(3)}"
        self.store.apply({"kind": "Service", "metadata": {"namespace": "shop", "name": name},
                          "spec": {"fill": "y" * (4 << 20)}})
        self.large.add(("shop", name))

    def fault(self):
        rng, api = self.rng, self.api
        plural = rng.choice(WATCHED + [None])
        roll = rng.randrange(10)
        if roll < 4:
            fault = rng.choice(["gone", "close", "garbage", "cut", "half", "slow"])
            api.faults.hit_streams(api.store, fault, plural, seconds=0.0002)
        elif roll < 8:
            fault = rng.choice(["status", "status", "empty", "garbage", "cut", "slow", "stall"])
            code = rng.choice([401, 403, 404, 410, 429, 500, 503, 504])
            api.faults.add(fault, plural, rng.choice(["list", "watch", None]), rng.randrange(1, 4), code=code,
                           seconds={"slow": 0.0001, "stall": rng.choice([0.2, 1.5])}.get(fault, 0))
        elif roll == 8:
            api.gone_as_status = rng.random() < 0.5
            api.store.compact()
            api.faults.hit_streams(api.store, "close", plural)
        else:
            # The file follows a little later: until then there are 401s for new requests.
            api.rotate(write=False)
            self.late_token = 10
            api.faults.hit_streams(api.store, "close", plural)

    def run(self):
        rng = self.rng
        for i in range(EVENTS):
            plural = rng.choice(["pods"] * 3 + WATCHED[1:])
            if i % 250 == 100:
                self.large_event()
            elif plural == "pods":
                self.pod_event()
            else:
                self.plural_event(plural)
            if i % 15 == 7:
                self.fault()
            if self.late_token:
                self.late_token -= 1
                if self.late_token == 0:
                    self.api.write("token", self.api.token + "\n")
            time.sleep(rng.choice([0, 0, 0.001, 0.004]))
        self.api.write("token", self.api.token + "\n")
        self.api.faults.clear()

    # -- what the cache must be --

    def truth(self):
        selected = apiserver.selector(f"spec.nodeName={NODE}")
        return {(path_of(p), key): o.tree
                for p in WATCHED for key, o in self.store.objects[p].items()
                if (p != "pods" or selected(o)) and key not in self.large}

    def cache(self, probe):
        found = {}
        for line in probe.ask("dump")[0]:
            path, text = line.split("\t", 1)
            tree = json.loads(text)
            key = (tree["metadata"].get("namespace", ""), tree["metadata"]["name"])
            if key not in self.large or path != path_of("services"):
                found[(path, key)] = tree
        return found

    def differences(self, probe):
        want, got = self.truth(), self.cache(probe)
        for key in sorted(want.keys() | got.keys()):
            if want.get(key) != got.get(key):
                why = "missing" if key not in got else "should be gone" if key not in want else "another version"
                return f"{key}: {why}; {[x for x in probe.ask('status')[0] if key[0] in x]}"
        return ""

    def names(self, probe):
        """Every container that was ever seen on this node has its pod's names, gone or not."""
        pods = self.pods
        seen = {uid for uid, answer in zip(pods.expected, probe.ask(*(f"uid {u}" for u in pods.expected)))
                if answer != ["null"]}
        live = {o["metadata"]["uid"] for (path, _), o in self.truth().items() if path == path_of("pods")}
        if live - seen:
            return f"no name for {live - seen}"
        for digest, uid in pods.hashes.items():
            if uid in seen and json.loads(probe.ask(f"uid {digest}")[0][0])["uid"] != uid:
                return f"static pod {digest} is not {uid}"
        # A container of a pod that came and went while the client was cut off was never told of.
        questions = {d: v for d, v in pods.containers.items() if v[0] in seen}
        unknown = 0
        for (digest, (uid, container)), (line,) in zip(
                questions.items(), probe.ask(*(f"container {d}" for d in questions))):
            if line == "null":
                current = any(digest in json.dumps(p["status"]) for p in pods.live.values())
                if current and uid in live:
                    return f"no name for container {digest} of {uid}"
                unknown += 1
                continue
            want = dict(pods.expected[uid], container=container, gone=uid not in live)
            if json.loads(line) != want:
                return f"container {digest}: {line}, not {want}"
        if unknown > len(questions) / 2:
            return f"{unknown} of {len(questions)} containers without a name"
        return ""


def random_sequences(seeds):
    done, errors, seen = {}, {}, 0
    for seed in seeds:
        with Server() as api:
            begin = time.monotonic()
            s = Sequence(seed, api)
            for _ in range(100):
                s.pod_event()
            probe = Probe(api)
            s.run()
            why = wait(lambda: s.differences(probe)) or s.names(probe)
            for name, n in probe.errors().items():
                errors[name] = errors.get(name, 0) + n
            for name, n in api.faults.done.items():
                done[name] = done.get(name, 0) + n
            seen += len(s.pods.containers)
            status = probe.close()
            if status and not why:
                why = f"the client ended with status {status}"
            say(not why, f"seed {seed}: {EVENTS} events with faults, {len(s.truth())} objects in the end, "
                         f"{time.monotonic() - begin:.1f} s", why)
    if seeds != SEEDS:
        return
    # The faults did happen, on both sides of the wire.
    for name in ("stream-gone", "stream-close", "stream-garbage", "stream-cut", "stream-half", "stream-slow",
                 "list-status", "list-empty", "list-garbage", "list-cut", "list-slow", "list-stall", "watch-status",
                 "watch-empty", "watch-garbage", "gone-status", "gone-stream", "unauthorized", "bookmark"):
        if not done.get(name):
            say(False, "every fault happened", f"no {name}; {done}")
            break
    else:
        say(True, f"every fault happened: {sum(done.values()) - done['bookmark']} in all")
    missing = [e for e in ("timeout", "cut", "empty", "garbage", "unauthorized", "forbidden", "absent", "gone",
                           "server", "too-large") if not errors.get(e)]
    say(not missing, f"every failure is counted by its reason, {sum(errors.values())} in all", f"{missing}; {errors}")
    say(seen > 500, f"{seen} containers were made", "too few")


# ---- single cases ----

def trust():
    """Nobody else's certificate, and nobody else's name."""
    with Server() as api:
        for name, options in (("a server that another CA signed is refused", {"ca": "other.crt"}),
                              ("a server of another name is refused",
                               {"url": api.url.replace("127.0.0.1", "localhost")})):
            probe = Probe(api, ["pods"], **options)
            why = wait(lambda: "" if probe.errors()["tls"] > 1 else f"{probe.ask('status')}")
            say(not why and not probe.status()["synced"] and not api.requests, name, why or f"{api.requests}")
            probe.close()


def new_ca():
    """The file of the cluster's CA is replaced: the next connection knows."""
    with Server() as api:
        shutil.copy(api.path("other.crt"), api.path("mounted.crt"))
        probe = Probe(api, ["pods"], ca="mounted.crt")
        why = wait(lambda: "" if probe.errors()["tls"] > 1 else f"{probe.ask('status')}")
        api.write("mounted.crt", pathlib.Path(api.path("ca.crt")).read_text(encoding="ascii"))
        why = why or wait(lambda: "" if probe.status()["synced"] else f"{probe.ask('status')}")
        say(not why, "another CA in the mounted file is believed from then on", why)
        probe.close()


def tokens():
    with Server() as api:
        probe = Probe(api, ["pods"])
        why = wait(lambda: "" if probe.status()["synced"] else f"{probe.ask('status')}")
        api.rotate(write=False)
        api.faults.hit_streams(api.store, "close")
        why = why or wait(lambda: "" if probe.errors()["unauthorized"] > 2 else "no 401")
        os.unlink(api.path("token"))
        before = probe.errors()["unauthorized"]
        why = why or wait(lambda: "" if probe.errors()["unauthorized"] > before + 2 else "no failure without a token")
        api.write("token", api.token + "\n")
        api.store.apply(apiserver.pod_like_real(1, NODE))
        why = why or wait(lambda: "" if probe.status()["objects"] == 1 else f"{probe.ask('status')}")
        say(not why, "a token that is refused, then gone, then another: it goes on with the new one", why)
        probe.close()


def held():
    """Half an event of one collection holds nothing else up."""
    with Server() as api:
        probe = Probe(api, ["pods", "services"])
        why = wait(lambda: "" if all(json.loads(s)["synced"] for s in probe.ask("status")[0]) else "not synced")
        why = why or wait(lambda: "" if len(api.faults.streams) == 2 else "no watches")
        api.faults.hit_streams(api.store, "hold", "services")
        api.store.apply({"kind": "Service", "metadata": {"namespace": "shop", "name": "held"}})
        for i in range(100):
            api.store.apply(apiserver.pod_like_real(i, NODE))
        why = why or wait(lambda: "" if probe.status()["objects"] == 100 else f"{probe.ask('status')}")
        while_held = probe.status("services")["objects"]
        figures = json.loads(probe.ask("time")[0][0])
        api.released.set()
        why = why or wait(lambda: "" if probe.status("services")["objects"] == 1 else f"{probe.ask('status')}")
        if not why and while_held:
            why = "the event was not held"
        say(not why, "half an event of one watch, 100 of another meanwhile: the loop was late by "
                     f"{figures['lateMs']} ms at most", why)
        probe.close()


def slow_bytes():
    """Bytes that trickle in, one a record, cost nothing but themselves."""
    with Server() as api:
        probe = Probe(api, ["pods", "services"], "kube_probe", ["-k", "60", "-s", "30000"])
        why = wait(lambda: "" if len(api.faults.streams) == 2 else "no watches")
        probe.ask("time")
        api.faults.hit_streams(api.store, "slow", "services", seconds=0.002)
        api.store.apply({"kind": "Service", "metadata": {"namespace": "shop", "name": "slow", "labels": {
            "fill": "x" * 400}}})
        begin, n = time.monotonic(), 0
        while not why and probe.status("services")["objects"] == 0:
            n += 1
            api.store.apply(apiserver.pod_like_real(n % 50, NODE))
            time.sleep(0.01)
            if time.monotonic() - begin > DEADLINE_S:
                why = f"{probe.ask('status')}"
        figures = json.loads(probe.ask("time")[0][0])
        events = probe.status()["events"]
        why = why or ("" if events > n / 2 else f"{events} of {n} events came meanwhile")
        say(not why, f"an event of {time.monotonic() - begin:.1f} s, byte by byte, {n} others meanwhile: the loop "
                     f"was late by {figures['lateMs']} ms at most", why)
        probe.close()


def absent():
    """A custom resource that is not installed is no failure of the others; then it is, then not any more."""
    with Server() as api:
        api.store.absent.add("sidecars")
        probe = Probe(api)
        why = wait(lambda: "" if probe.status("sidecars")["absent"] and probe.status()["synced"] else
                   f"{probe.ask('status')}")
        api.store.apply({"kind": "Sidecar", "metadata": {"namespace": "shop", "name": "default"}})
        api.command("install", {"plural": "sidecars"})
        why = why or wait(lambda: "" if probe.status("sidecars")["objects"] == 1 else f"{probe.ask('status')}")
        api.command("uninstall", {"plural": "sidecars"})
        why = why or wait(lambda: "" if probe.status("sidecars")["objects"] == 0 else f"{probe.ask('status')}")
        say(not why, "a collection that is not installed, installed, and removed", why)
        probe.close()


def restarted():
    """The server is gone for a while, and comes back from a backup: with versions that go on from far below."""
    with Server() as api:
        for i in range(200):
            api.store.apply(apiserver.pod_like_real(i, NODE))
        probe = Probe(api, ["pods"])
        why = wait(lambda: "" if probe.status()["objects"] == 200 else f"{probe.ask('status')}")
        port = api.http.server_address[1]
        api.stop()
        why = why or wait(lambda: "" if probe.errors()["connect"] > 2 else f"{probe.ask('status')}")
        again = apiserver.ApiServer(api.directory, port)
        again.store.apply(apiserver.pod_like_real(7, NODE))
        why = why or wait(lambda: "" if probe.status()["objects"] == 1 else f"{probe.ask('status')}")
        # How often the client failed before the server was there again decides which of the two it asks.
        how = "told that its version is ahead" if again.faults.done["ahead"] else "listing anew by itself"
        say(not why, f"a server that restarts from a backup ({how})", why)
        again.stop()
        probe.close()


def from_outside():
    """The server as tests in other languages start and steer it."""
    directory = tempfile.mkdtemp(prefix="kube_follow.")
    server = subprocess.Popen([HERE.parent / "lib" / "apiserver.py", "--dir", directory, "--pods", "3"],
                              stdin=subprocess.PIPE)

    def control(method, path, body=None):
        return json.loads(subprocess.run(
            ["curl", "-sf", "-X", method, "--unix-socket", f"{directory}/control.sock", f"http://x/{path}",
             *(["--data-binary", json.dumps(body)] if body else [])],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True, timeout=DEADLINE_S).stdout)

    class Address:
        url = ""

        @staticmethod
        def path(name):
            return os.path.join(directory, name)

    try:
        why = wait(lambda: "" if os.path.exists(f"{directory}/url") else "it does not start")
        if not why:
            Address.url = pathlib.Path(directory, "url").read_text(encoding="ascii").strip()
            probe = Probe(Address, ["pods", "services"])
            control("PUT", "objects", {"kind": "List", "items": [
                {"kind": "Service", "metadata": {"name": n, "namespace": "shop"}} for n in "abc"]})
            control("DELETE", "objects/services/shop/b")
            control("POST", "faults", {"fault": "status", "code": 500, "times": 2})
            control("POST", "rotate")
            control("POST", "compact", {"status": True})
            control("POST", "streams", {"fault": "cut"})
            why = wait(lambda: "" if probe.status("services")["objects"] == 2 and probe.status()["objects"] == 3
                       else f"{probe.ask('status')}")
            truth = [o["metadata"]["name"] for o in control("GET", "objects/services")["items"]]
            stats = control("GET", "stats")
            why = why or ("" if truth == ["a", "c"] and stats["requests"] > 3 else f"{truth} {stats}")
            probe.close()
        server.stdin.close()
        status = server.wait(timeout=DEADLINE_S)
        say(not why and status == 0, "the server steered from outside", why or f"status {status}")
    finally:
        server.kill()
        server.wait()
        shutil.rmtree(directory)


def ten_thousand():
    """Pods as large as real ones, from the server's cache in one answer and in pages."""
    with Server() as api:
        apiserver.many_pods(api.store, 10000, NODE)
        size = sum(len(o.text) for o in api.store.objects["pods"].values())
        begin = time.monotonic()
        probe = Probe(api, ["pods"], "kube_probe", ["-n", "-k", "60", "-s", "30000"])
        why = wait(lambda: "" if probe.status()["synced"] else f"{probe.ask('status')}", 60)
        listed = time.monotonic() - begin
        figures = json.loads(probe.ask("time")[0][0])
        why = why or ("" if probe.status()["objects"] == 10000 else f"{probe.ask('status')}")
        answer = json.loads(probe.ask(f"container {9999:056x}{1:08x}")[0][0])
        why = why or ("" if answer and answer["workload"] == "web" and answer["container"] == "istio-proxy"
                      else f"{answer}")
        say(not why, f"10,000 pods, {size >> 20} MiB, in one list: {listed:.2f} s, {figures['cpuMs']} ms of CPU, "
                     f"{figures['maxRssKb'] >> 10} MiB RSS at most, {figures['runMs']} ms of CPU in one run at most",
            why)
        # Without the version the list comes in 20 pages; half of the pods went meanwhile.
        for key in sorted(api.store.objects["pods"])[::2]:
            api.store.delete("pods", *key)
        why = wait(lambda: "" if probe.status()["objects"] == 5000 else f"{probe.ask('status')}", 60)
        begin = time.monotonic()
        api.store.compact()
        api.faults.hit_streams(api.store, "gone")
        why = why or wait(lambda: "" if probe.status()["lists"] == 2 else f"{probe.ask('status')}", 60)
        figures = json.loads(probe.ask("time")[0][0])
        pages = sum("continue=" in r for r in api.requests)
        why = why or ("" if pages == 9 else f"{pages} pages after the first")
        why = why or ("" if probe.status()["objects"] == 5000 else f"{probe.ask('status')}")
        say(not why, f"5,000 of them in pages after a 410: {time.monotonic() - begin:.2f} s, "
                     f"{figures['maxRssKb'] >> 10} MiB RSS at most", why)
        probe.close()


def main():
    # Directories are removed and processes ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in ("kube_probe", "kube_probe_san"):
        if not (REPO / "build" / name).exists():
            sys.exit(f"kube_follow: build/{name} is missing; run make check-build")
    if len(sys.argv) > 1:
        random_sequences([int(a) for a in sys.argv[1:]])
    else:
        for case in (trust, new_ca, tokens, held, slow_bytes, absent, restarted, from_outside, ten_thousand):
            case()
        random_sequences(SEEDS)
    sys.exit(FAILED > 0)


if __name__ == "__main__":
    main()
