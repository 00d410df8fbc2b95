# Each target installs its requirements; see CONTRIBUTING.md.
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)
PACKAGES := iproute2 iputils-ping
TEST_PACKAGES := $(PACKAGES) qemu-system-x86 containernetworking-plugins \
	python3 busybox-static kmod zstd procps libfaketime tcpdump tshark curl ethtool
CLUSTER_PACKAGES := $(PACKAGES) qemu-system-x86 procps dpkg-dev patch openssl curl ca-certificates libfaketime
UNIT_TESTS := vitest run --project unit
.PHONY: help demo demo-managed demo-switch test test-cluster soak bench check generate build image setup clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: ## show a pseudowire between two pods, on nodes in network namespaces; root
	@test/setup/install.sh $(PACKAGES) iperf3
	@$(MAKE) --no-print-directory build
	@node test/demo/static.ts

demo-managed: ## show a tunnel with a backup, whose peer is killed and recovers; root
	@test/setup/install.sh $(PACKAGES)
	@$(MAKE) --no-print-directory build
	@node test/demo/managed.ts

demo-switch: ## show a node that joins two different pseudowires; root
	@test/setup/install.sh $(PACKAGES)
	@$(MAKE) --no-print-directory build
	@node test/demo/switch.ts

test: ## run all suites except those on Kubernetes; root
	@test/setup/install.sh $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory build
	@node test/setup/run-suites.ts unit netns peer seams plain fast kernel

test-cluster: ## run the suites on Kubernetes; the first run builds a cluster; root
	@test/setup/install.sh $(CLUSTER_PACKAGES)
	@$(MAKE) --no-print-directory image
	@test/setup/cluster-ready.sh
	@node test/setup/run-suites.ts crds cluster

soak: ## all files in all kernels, control connections and floods; sessions recreated for MINUTES=120; root
	@test/setup/install.sh $(TEST_PACKAGES)
	@$(MAKE) --no-print-directory build
	@node test/setup/run-suites.ts kernel-whole
	@node test/soak/control.ts
	@node test/soak/flood.ts
	@node test/soak/sessions.ts $(MINUTES)

bench: ## compare with QEMU, other tunnels and reference plugins; write docs/bench/; root
	@test/setup/install.sh $(TEST_PACKAGES) iperf3 fastd openvpn
	@$(MAKE) --no-print-directory build
	@node test/bench/main.ts --docs

check: ## check format, lint, types and structure, and run unit tests; no root
	@test/setup/install.sh
	biome ci --error-on-warnings .
	tsc -p .
	node test/setup/structure.ts
	$(UNIT_TESTS)

generate: ## generate files from crds/, operator/api/rules.ts, cni/ and *.wat
	@test/setup/install.sh
	@node test/setup/generate.ts

build: dist/l2tp ## build dist/l2tp, the CNI plugin in one file

image: dist/l2tp ## build dist/image.tar, for any container engine
	@node image/build.ts

dist/l2tp: $(shell find cni files rpc net operator/agent-protocol.ts -name '*.ts' ! -name '*.test.ts') package-lock.json
	@test/setup/install.sh
	@mkdir -p dist
	@node test/setup/build-cni.ts

setup: ## install all Debian and npm packages
	@test/setup/install.sh $(TEST_PACKAGES) $(CLUSTER_PACKAGES) iperf3

clean: ## remove dist/, out/ and node_modules/
	rm -rf dist out node_modules
