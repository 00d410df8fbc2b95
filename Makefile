# Every target sets up what it needs; see CONTRIBUTING.md.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
PACKAGES := iproute2 iputils-ping
TEST_PACKAGES := $(PACKAGES) qemu-system-x86 containernetworking-plugins \
	python3 busybox-static kmod zstd procps libfaketime tcpdump tshark curl ethtool
CLUSTER_PACKAGES := $(PACKAGES) qemu-system-x86 procps dpkg-dev patch openssl curl ca-certificates libfaketime
.PHONY: help demo demo-managed test test-cluster soak bench check generate build image setup clean

help: ## what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## two nodes in network namespaces, a pseudowire between two pods
	@test/setup/install.sh $(PACKAGES) iperf3
	@$(MAKE) --no-print-directory build
	@node test/demo/static.ts

demo-managed: ## a tunnel with a backup: its peer is killed, and comes back
	@test/setup/install.sh $(PACKAGES)
	@$(MAKE) --no-print-directory build
	@node test/demo/managed.ts

test: ## all suites; needs root
	@test/setup/install.sh $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory build
	@node test/setup/run-suites.ts unit netns peer seams plain fast kernel

test-cluster: ## the suites on Kubernetes; builds one, the first time
	@test/setup/install.sh $(CLUSTER_PACKAGES)
	@$(MAKE) --no-print-directory image
	@test/setup/cluster-ready.sh
	@node test/setup/run-suites.ts crds cluster

soak: ## random courses and floods of control connections; sessions that come and go for MINUTES=120; root
	@test/setup/install.sh $(PACKAGES)
	@node test/soak/control.ts
	@node test/soak/flood.ts
	@node test/soak/sessions.ts $(MINUTES)

bench: ## side by side with QEMU and the reference plugins; out/bench.json, docs/bench/
	@test/setup/install.sh $(TEST_PACKAGES) iperf3 fastd openvpn
	@$(MAKE) --no-print-directory build
	@node test/bench/main.ts --docs

check: ## format, lint, types, structure, unit tests; no root
	@test/setup/install.sh
	biome ci --error-on-warnings .
	tsc -p .
	node test/setup/structure.ts
	vitest run --project unit

generate: ## what is made from crds/, operator/api/rules.ts, cni/ and *.wat
	@test/setup/install.sh
	@node test/setup/generate.ts

build: dist/l2tp ## dist/l2tp, the CNI plugin in one file

image: dist/l2tp ## dist/image.tar, for any container engine
	@node image/build.ts

dist/l2tp: $(shell find cni files rpc net operator/agent-protocol.ts -name '*.ts' ! -name '*.test.ts') package-lock.json
	@test/setup/install.sh
	@mkdir -p dist
	@node test/setup/build-cni.ts

setup: ## all Debian and npm packages
	@test/setup/install.sh $(TEST_PACKAGES) $(CLUSTER_PACKAGES) iperf3

clean: ## remove what was built
	rm -rf dist out node_modules
