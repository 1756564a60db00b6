# SPDX-License-Identifier: Apache-2.0
# All products go to build/. V=1 shows the commands; `make help` lists the targets.

SHELL := /bin/bash
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
B        := build
CLANG    ?= clang
CC       := gcc
BPFTOOL  ?= $(firstword $(wildcard /usr/sbin/bpftool /usr/local/sbin/bpftool) bpftool)
MULTIARCH := $(shell $(CC) -print-multiarch 2>/dev/null)

PACKAGES := libbpf zlib libcjson libmicrohttpd gnutls libcurl yaml-0.1 libpcap libpsl
WARN     := -Wall -Wextra -Wshadow -Wvla -Wstrict-prototypes -Werror
CPPFLAGS := -D_GNU_SOURCE -DEA_VERSION='"$(VERSION)"' -iquote include -iquote user -iquote $(B)
CFLAGS   ?= -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2
CFLAGS   += -std=gnu11 $(WARN) -ffile-prefix-map=$(CURDIR)=.
LDLIBS   := $(shell pkg-config --libs $(PACKAGES) 2>/dev/null)
BPF_FLAGS := -O2 -g -target bpf -mcpu=v3 -std=gnu11 -Wall -Wextra -Werror -Iinclude -Ibpf \
	     -idirafter /usr/include/$(MULTIARCH) -ffile-prefix-map=$(CURDIR)=.

# Commands are glue over the modules; unit tests link the modules alone.
COMMANDS := main run run_opts dump generate replay check
MODULES  := $(filter-out $(COMMANDS),$(basename $(notdir $(sort $(wildcard user/*.c)))))
UNITS    := $(basename $(notdir $(sort $(wildcard tests/unit/test_*.c))))
SAN      := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1

msg = $(if $(V),,@printf '  %-7s %s\n' $(1) $(2);)

.PHONY: all demo test check-vm bench check-build fuzz lint format image-root rules install clean help setup
all: $(B)/egress-agent ## build build/egress-agent

setup: ## install the Debian packages that building, the demo and the tests need (root)
	$(call msg,SETUP,packages)bash tests/lib/packages.sh

# Re-run make after the packages are in: pkg-config is asked when the Makefile is read.
demo: ## install what is needed, build, and play the three demos on a self-contained stand (root)
	@bash tests/lib/packages.sh
	@$(MAKE) --no-print-directory all
	@bash tests/e2e/demo.sh

test: ## install what is needed, build, and run every test layer (root)
	@bash tests/lib/packages.sh
	@$(MAKE) --no-print-directory all check-build
	@bash tests/run.sh

check-vm: ## boot Debian kernels in qemu and run check, the bpf layer and live connections on each (root, minutes)
	@bash tests/lib/packages.sh build test vm
	@$(MAKE) --no-print-directory all check-build
	@bash tests/vm/run.sh

# BENCH: which of them. Each prints tables and leaves its figures in build/bench/*.json.
BENCH ?= replay cost memory agent
bench: ## install what is needed, build, and measure: replay, and what the agent costs (root, a quarter of an hour)
	@bash tests/lib/packages.sh build stand bench
	@$(MAKE) --no-print-directory all $(B)/bench/cost_load $(B)/bench/cost.bpf.o $(B)/bench/storage.bpf.o $(B)/bench/agent_fill
	@status=0; for b in $(BENCH:%=tests/bench/%.sh); do bash $$b || status=1; done; exit $$status

check-build: $(UNITS:%=$(B)/%) $(B)/test_bpf $(B)/kube_probe $(B)/kube_probe_san $(B)/expose \
	     $(B)/exposition $(B)/egress-agent.rules.yaml ## build the test programs

$(B) $(B)/obj $(B)/san:
	@mkdir -p $@

$(B)/egress.bpf.o: bpf/egress.bpf.c | $(B)
	$(call msg,BPF,$@)$(CLANG) $(BPF_FLAGS) -MMD -MP -c $< -o $@

# The linking step settles the offsets of static variables, which clang leaves open.
$(B)/egress.bpf.linked.o: $(B)/egress.bpf.o
	$(call msg,LINK,$@)$(BPFTOOL) gen object $@ $<

$(B)/egress.skel.h: $(B)/egress.bpf.linked.o
	$(call msg,SKEL,$@)$(BPFTOOL) gen skeleton $< name egress_bpf > $@

$(B)/obj/%.o: user/%.c $(B)/egress.skel.h | $(B)/obj
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

$(B)/egress-agent: $(COMMANDS:%=$(B)/obj/%.o) $(MODULES:%=$(B)/obj/%.o)
	$(call msg,LD,$@)$(CC) $(CFLAGS) $(LDFLAGS) $^ $(LDLIBS) -o $@

# Test programs: the modules once more, with sanitizers.
$(B)/san/%.o: user/%.c $(B)/egress.skel.h | $(B)/san
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -U_FORTIFY_SOURCE $(SAN) -MMD -MP -c $< -o $@

$(B)/san/alloc.o: tests/lib/alloc.c | $(B)/san
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -U_FORTIFY_SOURCE $(SAN) -MMD -MP -c $< -o $@

$(B)/san/libmodules.a: $(MODULES:%=$(B)/san/%.o) $(B)/san/alloc.o
	$(call msg,AR,$@)rm -f $@ && ar rcs $@ $^

WRAP := -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
$(B)/test_%: tests/unit/test_%.c $(B)/san/libmodules.a
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) -iquote tests/lib -iquote bpf $(CFLAGS) -U_FORTIFY_SOURCE $(SAN) -MMD -MP $< \
		$(B)/san/libmodules.a $(WRAP) $(LDLIBS) -lcmocka -o $@

# As it ships, for figures; and with sanitizers.
$(B)/kube_probe: tests/unit/kube_probe.c $(MODULES:%=$(B)/obj/%.o)
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(filter %.c %.o,$^) $(LDLIBS) -o $@

# What an agent would answer to a scrape, without a kernel.
$(B)/exposition: tests/golden/exposition.c $(MODULES:%=$(B)/obj/%.o)
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) -iquote tests/lib $(CFLAGS) -MMD -MP $(filter %.c %.o,$^) $(LDLIBS) -o $@

$(B)/kube_probe_san: tests/unit/kube_probe.c $(B)/san/libmodules.a
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -U_FORTIFY_SOURCE $(SAN) -MMD -MP $< $(B)/san/libmodules.a $(LDLIBS) -o $@

$(B)/expose: tests/unit/expose.c $(B)/san/libmodules.a
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) -iquote tests/lib $(CFLAGS) -U_FORTIFY_SOURCE $(SAN) -MMD -MP $< $(B)/san/libmodules.a $(LDLIBS) -o $@

$(B)/test_bpf: tests/bpf/test_bpf.c $(wildcard tests/bpf/*.h) $(B)/obj/bpf.o $(B)/obj/bpf_snapshot.o $(B)/obj/bpf_move.o $(B)/obj/ranges.o
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP $(filter %.c %.o,$^) $(LDLIBS) -o $@

$(B)/bench/agent_fill: tests/bench/agent_fill.c include/egress.h
	@mkdir -p $(@D)
	$(call msg,CC,$@)$(CC) $(CPPFLAGS) $(CFLAGS) $< -lbpf -o $@

$(B)/bench/cost_load: tests/bench/cost_load.c
	@mkdir -p $(@D)
	$(call msg,CC,$@)$(CC) -D_GNU_SOURCE $(CFLAGS) $< -lssl -lcrypto -o $@

$(B)/bench/cost.bpf.o: tests/bench/cost.bpf.c $(wildcard bpf/*.h include/*.h)
	@mkdir -p $(@D)
	$(call msg,BPF,$@)$(CLANG) $(BPF_FLAGS) -c $< -o $@

# Fuzz targets include what they test; FUZZ_SECONDS bounds each.
FUZZ         := tls answer http flow capture kube registry prometheus
FUZZ_SECONDS ?= 60
FUZZ_FLAGS   := -g -O1 -std=gnu11 -D_GNU_SOURCE -iquote include -iquote user -iquote $(B) \
		-fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
FUZZ_flow    := user/native.c
FUZZ_capture := user/capture.c user/fragment.c user/stream.c -lpcap
FUZZ_kube    := user/kube_scan.c user/text.c user/json_tree.c -lcjson
FUZZ_registry := $(wildcard user/registry*.c user/yaml_tree.c user/yaml_scalar.c user/json_tree.c user/model*.c) \
		user/text.c -lcjson -lyaml
FUZZ_prometheus := $(filter-out user/prometheus_get.c,$(wildcard user/prometheus_*.c user/model*.c user/json*.c)) \
		user/list.c user/name.c user/text.c -lcjson

$(B)/fuzz/fuzz_%: tests/fuzz/fuzz_%.c $(wildcard bpf/*.h include/*.h user/*.[ch])
	@mkdir -p $(@D)
	$(call msg,FUZZ,$@)$(CLANG) $(FUZZ_FLAGS) $< $(FUZZ_$*) -o $@

$(B)/fuzz/seeds: tests/fuzz/seeds.c $(wildcard tests/bpf/*.h)
	@mkdir -p $(@D)
	$(call msg,CC,$@)$(CC) -D_GNU_SOURCE $< -o $@

$(B)/bench/%.bpf.o: tests/bench/%.bpf.c
	@mkdir -p $(@D)
	$(call msg,BPF,$@)$(CLANG) $(BPF_FLAGS) -c $< -o $@

fuzz: $(FUZZ:%=$(B)/fuzz/fuzz_%) $(B)/fuzz/seeds ## run each fuzz target for FUZZ_SECONDS (60), from the test cases' seeds
	@mkdir -p $(addprefix $(B)/fuzz/corpus/,$(FUZZ) registry prometheus)
	@$(B)/fuzz/seeds $(B)/fuzz/corpus
	@/usr/bin/python3 tests/golden/replay_captures.py --seeds $(B)/fuzz/corpus/capture
	@cp tests/fuzz/registry.yaml $(B)/fuzz/corpus/registry/
	@cp tests/fuzz/prometheus.seed $(B)/fuzz/corpus/prometheus/
	@for t in $(FUZZ); do \
		dict=tests/fuzz/$$t.dict; [ -e $$dict ] && dict=-dict=$$dict || dict=; \
		$(B)/fuzz/fuzz_$$t $$dict -max_len=3000 -timeout=5 -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 \
			-artifact_prefix=$(B)/fuzz/ $(B)/fuzz/corpus/$$t >$(B)/fuzz/$$t.log 2>&1 || \
			{ tail -n 40 $(B)/fuzz/$$t.log; exit 1; }; \
		echo "fuzz: $$t: $$(sed -n 's/^stat::number_of_executed_units: *//p' $(B)/fuzz/$$t.log) runs, no finding"; \
	done

lint: $(B)/egress.skel.h ## clang-format, clang-tidy, shellcheck, spelling of the SPDX lines
	@bash tests/lint.sh

format: ## rewrite the C files in the house style
	clang-format -i $(wildcard bpf/*.[ch] user/*.[ch] include/*.h tests/*/*.[ch])

DIR ?= $(B)/image
image-root: $(B)/egress-agent ## fill DIR (build/image) with the container image's root file system
	$(call msg,IMAGE,$(DIR))bash deploy/image-root.sh $< "$(DIR)"

# Prometheus' own form of the operator's object: what is below its spec, two spaces less.
$(B)/egress-agent.rules.yaml: deploy/components/prometheus-rules/prometheusrule.yaml | $(B)
	$(call msg,RULES,$@)sed '1,/^spec:$$/d; s/^  //' $< > $@

rules: $(B)/egress-agent.rules.yaml ## recording rules and alerts for a Prometheus without the operator

PREFIX ?= /usr/local
install: $(B)/egress-agent ## install the binary below $(DESTDIR)$(PREFIX)/bin
	install -D -m 0755 $< $(DESTDIR)$(PREFIX)/bin/egress-agent

clean: ## remove build/
	rm -rf $(B)

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

-include $(wildcard $(B)/*.d $(B)/obj/*.d $(B)/san/*.d)
