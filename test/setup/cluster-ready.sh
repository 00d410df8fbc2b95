#!/bin/sh
# Builds the clusters for the cluster suites. Only the first run on a machine takes long. See test/kube/.
set -eu
cd "$(dirname "$0")/../kube"

echo "Setting up Kubernetes (takes minutes on the first run)"
[ -n "${KUBECONFIG:-}" ] || kube-cluster/kube-cluster setup --with-helm
crd-server/crd-server setup
