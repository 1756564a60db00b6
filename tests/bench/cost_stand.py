# SPDX-License-Identifier: Apache-2.0
"""The processes of a measurement on a stand (tests/lib/stand.sh): servers outside, a client in the pod, the agent that runs.

Owns: where each runs (namespace, cgroup, CPU), and their end. Must not know what is measured.
"""
import json
import os
import subprocess
import threading
import time
import urllib.request

PORT = 7000  # cost_load's; http and tls are the ports 3 and 4 behind it
SCRAPE_SECONDS = 5
NGINX = """
daemon off; master_process off; user root; pid {dir}/nginx.pid; error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
	access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; server_tokens off;
	client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
	uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
	server {{
		listen 0.0.0.0:{http} backlog=4096; listen [::]:{http} ipv6only=on backlog=4096;
		listen 0.0.0.0:{tls} ssl backlog=4096; listen [::]:{tls} ssl ipv6only=on backlog=4096;
		ssl_certificate {stand}/nginx/server.crt; ssl_certificate_key {stand}/nginx/server.key;
		ssl_protocols TLSv1.2 TLSv1.3; ssl_session_tickets off; ssl_session_cache off;
		location / {{ return 200 "hello\\n"; }}
	}}
}}
"""


class Stand:
    """args: what cost.sh passes on."""

    def __init__(self, args):
        self.args, self.processes = args, []
        self.agent_pid = args.agent_pid
        self.scraped, self.unscraped = 0, 0.0
        self.scraper = None
        directory = os.path.join(args.stand, "cost")
        os.makedirs(directory, exist_ok=True)
        config = os.path.join(directory, "nginx.conf")
        with open(config, "w", encoding="ascii") as f:
            f.write(NGINX.format(dir=directory, stand=args.stand, http=PORT + 3, tls=PORT + 4))
        out, cgroup = args.server_netns, args.server_cgroup
        self.server = self.start([args.load, "serve", str(PORT)], out, cgroup)
        self.nginx = self.start(["nginx", "-p", directory + "/", "-c", config], out, cgroup)
        self.client = self.start([args.load, "client", str(PORT), args.address4, args.address6], args.client_netns, args.client_cgroup)
        self.server.stdout.readline()
        self.wait_for_nginx()
        self.place(2)

    def start(self, command, netns, cgroup, **options):
        """In a network namespace and a cgroup; text over pipes unless told otherwise."""
        def enter():
            with open(os.path.join(cgroup, "cgroup.procs"), "w", encoding="ascii") as f:
                f.write("0")
        options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, **options}
        process = subprocess.Popen(["ip", "netns", "exec", netns, *command], preexec_fn=enter, **options)
        self.processes.append(process)
        return process

    def wait_for_nginx(self):
        command = ["ip", "netns", "exec", self.args.server_netns, "curl", "-qsf", "--noproxy", "*", f"http://127.0.0.1:{PORT + 3}/"]
        for _ in range(100):
            if subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0:
                return
            time.sleep(0.1)
        raise SystemExit("bench: nginx does not answer; see the lines above")

    def place(self, cpus):
        """Client and servers on one CPU, with the agent, or each on one of their own."""
        all_of_them = sorted(os.sched_getaffinity(0))
        there = all_of_them[min(cpus, len(all_of_them)) - 1]
        os.sched_setaffinity(self.client.pid, {all_of_them[0]})
        for process in (self.server, self.nginx):
            os.sched_setaffinity(process.pid, {there})
        os.sched_setaffinity(self.agent_pid, {all_of_them[0], there})

    def run(self, workload, family, ms, names, most=0):
        """Operations within the ns that are returned as well, and all operations."""
        try:
            self.client.stdin.write(f"{workload} {family} {ms} {names} {most}\n")
            self.client.stdin.flush()
            answer = self.client.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if not answer:
            raise SystemExit(f"bench: the client ended within {workload} over IPv{family}")
        return [int(n) for n in answer]

    def get(self, path):
        with urllib.request.urlopen(self.args.url + path, timeout=120) as answer:
            return answer.read()

    def scrape_as_due(self, seconds):
        """To be told of time that the agent's programs were attached: /metrics is read every 5 s of it, meanwhile."""
        self.unscraped += seconds
        if self.unscraped < SCRAPE_SECONDS or (self.scraper and self.scraper.is_alive()):
            return
        self.unscraped = 0.0
        self.scraped += 1
        self.scraper = threading.Thread(target=self.get, args=("/metrics",))
        self.scraper.start()

    def totals(self):
        """Connections opened and requests, of all destinations the agent knows; and how many those are."""
        rows = json.loads(self.get("/api/v1/destinations"))["destinations"]
        return {"connections": sum(r["connections"]["opened"] for r in rows),
                "requests": sum((r.get("requests") or {}).get("total", 0) for r in rows), "rows": rows}

    def agent_cpu(self):
        """Seconds on a CPU so far."""
        with open(f"/proc/{self.agent_pid}/schedstat", encoding="ascii") as f:
            return int(f.read().split()[0]) / 1e9

    def end(self):
        if self.scraper:
            self.scraper.join()
        for process in self.processes:
            process.kill()
            process.wait()
