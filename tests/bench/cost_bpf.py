# SPDX-License-Identifier: Apache-2.0
"""The programs whose cost is measured: attach and detach them within microseconds, read what the kernel counted of them.

Owns: libbpf's C interface (by ctypes) and which programs a state consists of. The agent attaches its programs itself; here its
links are taken off, and the same programs (not copies of them) are attached where and when a measurement wants them. The agent
goes on reading their maps. Must not know traffic.
"""
import ctypes
import os

OFF, EMPTY, STORAGE, AGENT = "off", "empty", "storage", "agent"
HOOKS = (("ingress", 0), ("egress", 1), ("sockops", 3))  # enum bpf_attach_type; as the agent does, packets first
STATS_RUN_TIME = 0

_lib = ctypes.CDLL("libbpf.so.1", use_errno=True)
for _name in ("bpf_object__open_file", "bpf_object__find_map_by_name", "bpf_object__find_program_by_name"):
    getattr(_lib, _name).restype = ctypes.c_void_p


class _TestRun(ctypes.Structure):
    _fields_ = [("sz", ctypes.c_size_t), ("data_in", ctypes.c_void_p), ("data_out", ctypes.c_void_p),
                ("data_size_in", ctypes.c_uint32), ("data_size_out", ctypes.c_uint32), ("ctx_in", ctypes.c_void_p),
                ("ctx_out", ctypes.c_void_p), ("ctx_size_in", ctypes.c_uint32), ("ctx_size_out", ctypes.c_uint32),
                ("retval", ctypes.c_uint32), ("repeat", ctypes.c_int), ("duration", ctypes.c_uint32),
                ("flags", ctypes.c_uint32), ("cpu", ctypes.c_uint32), ("batch_size", ctypes.c_uint32)]


def _check(result, what):
    if result is None or result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def _call(name, *args):
    return _check(getattr(_lib, name)(*args), name)


def _fdinfo(fd):
    with open(f"/proc/self/fdinfo/{fd}", encoding="ascii") as f:
        return dict(line.split(":\t") for line in f.read().splitlines() if ":\t" in line)


def _frame():
    """A TCP segment over IPv4 without payload."""
    ip = bytes([0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2])
    tcp = bytes([0x80, 0, 1, 187, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0])
    return b"\2\0\0\0\0\1\2\0\0\0\0\2\x08\0" + ip + tcp


class Programs:
    """object_path: cost.bpf.c, compiled. pin: the agent's pins."""

    def __init__(self, object_path, pin):
        self.pin, self.links, self.now = pin, [], (OFF, None)
        self.object = ctypes.c_void_p(_call("bpf_object__open_file", object_path.encode(), None))
        flows = _call("bpf_obj_get", os.path.join(pin, "ea_flows").encode())
        _call("bpf_map__reuse_fd", self._map("ea_flows"), flows)
        _call("bpf_object__load", self.object)
        self.programs = {state: {h: self._program(f"{state}_{h}") for h, _ in HOOKS} for state in (EMPTY, STORAGE)}
        self.programs[AGENT] = {}
        for hook, _ in HOOKS:
            self.programs[AGENT][hook] = self._take(hook)

    def _map(self, name):
        return ctypes.c_void_p(_call("bpf_object__find_map_by_name", self.object, name.encode()))

    def _program(self, name):
        return _call("bpf_program__fd", ctypes.c_void_p(_call("bpf_object__find_program_by_name", self.object, name.encode())))

    def _take(self, hook):
        """The agent's program at a hook; its link is taken off."""
        link = _call("bpf_obj_get", os.path.join(self.pin, f"link_ea_{hook}").encode())
        program = _call("bpf_prog_get_fd_by_id", int(_fdinfo(link)["prog_id"]))
        _call("bpf_link_detach", link)
        os.close(link)
        return program

    def switch(self, state, cgroup):
        """Have the programs of a state, and no others, attached to a cgroup directory."""
        if self.now == (state, cgroup):
            return
        while self.links:
            os.close(self.links.pop())
        self.now = (state, cgroup)
        if state == OFF:
            return
        target = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY)
        for hook, kind in HOOKS:
            self.links.append(_call("bpf_link_create", self.programs[state][hook], target, kind, None))
        os.close(target)

    def counted(self, state):
        """By hook: how often the state's program ran, and for how many ns; 0 unless stats() is open."""
        return {hook: (int(info["run_cnt"]), int(info["run_time_ns"]))
                for hook, info in ((h, _fdinfo(fd)) for h, fd in self.programs[state].items())}

    @staticmethod
    def stats():
        """Have the kernel count, until the fd is closed. That costs time of its own."""
        return _call("bpf_enable_stats", STATS_RUN_TIME)

    def repeated(self, hook, state, repeat):
        """ns per run of a state's program on a packet of a decided flow, and of what was run before it to decide it."""
        frame = ctypes.create_string_buffer(_frame())
        key, value = ctypes.c_uint32(0), ctypes.c_uint32(self.programs[state][hook])
        _call("bpf_map_update_elem", _call("bpf_map__fd", self._map(f"then_{hook}")), ctypes.byref(key), ctypes.byref(value),
              ctypes.c_uint64(0))
        run = _TestRun(sz=ctypes.sizeof(_TestRun), data_in=ctypes.addressof(frame), data_size_in=len(frame) - 1, repeat=repeat)
        _call("bpf_prog_test_run_opts", self._program(f"decided_{hook}"), ctypes.byref(run))
        if run.retval != 1:
            raise OSError(f"{hook}: {state}: the program was not run")
        return run.duration
