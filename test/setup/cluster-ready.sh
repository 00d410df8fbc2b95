#!/bin/sh
# Builds what the cluster suites run on, once per machine; again it is quick. See test/kube/.
set -eu
cd "$(dirname "$0")/../kube"

echo "Setting up Kubernetes (minutes, the first time)"
[ -n "${KUBECONFIG:-}" ] || kube-cluster/kube-cluster setup --with-helm
crd-server/crd-server setup
