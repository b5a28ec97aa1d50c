#!/usr/bin/env bash
# Build the pinned Kubernetes control plane (and kubelet, kubectl, kwok, helm) once per machine.
#
# usage: build.sh [PART ...]     parts: etcd k8s kwok helm (default: all)
# Prints the folder of the binaries as its last line. Binaries live outside the clone, in
# ${XDG_CACHE_HOME:-~/.cache}/processing-pool/control-plane/<part>-<hash of pins and Go version>.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/processing-pool/control-plane
parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(etcd k8s kwok helm)

command -v go >/dev/null || { echo "control plane: Go is needed to build it (https://go.dev/dl), or set KUBEBUILDER_ASSETS to a folder with the binaries" >&2; exit 1; }
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath" GOTOOLCHAIN=local

packages() {
  case $1 in
    etcd) echo go.etcd.io/etcd/server/v3 ;;
    k8s) echo k8s.io/kubernetes/cmd/{kube-apiserver,kube-controller-manager,kube-scheduler,kubelet,kubectl} ;;
    kwok) echo sigs.k8s.io/kwok/cmd/kwok ;;
    helm) echo helm.sh/helm/v4/cmd/helm ;;
    *) echo "control plane: unknown part '$1' (etcd, k8s, kwok, helm)" >&2; return 1 ;;
  esac
}

# kube components refuse to start without a version that parses.
ldflags() {
  local flags="-s -w" version package
  if [ "$1" = k8s ]; then
    version=$(sed -n 's|.*k8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$here/k8s/go.mod")
    for package in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
      flags="$flags -X $package.gitVersion=$version -X $package.gitMajor=1 -X $package.gitMinor=$(echo "$version" | cut -d. -f2)"
      flags="$flags -X $package.gitTreeState=clean -X $package.buildDate=1970-01-01T00:00:00Z"
    done
  fi
  echo "$flags"
}

mkdir -p "$cache/bin"
for part in "${parts[@]}"; do
  hash=$( (cat "$here/$part/go.mod" "$here/$part/go.sum"; go version) | sha256sum | cut -c1-16)
  done_dir=$cache/$part-$hash
  if [ ! -d "$done_dir" ]; then
    echo "control plane: building $part (Kubernetes takes about 5 minutes on 2 cores, once per machine)" >&2
    tmp=$(mktemp -d "$cache/.build-XXXXXX")
    trap 'rm -rf "$tmp"' EXIT
    # shellcheck disable=SC2046
    (cd "$here/$part" && go build -o "$tmp/" -ldflags "$(ldflags "$part")" $(packages "$part"))
    # The etcd server's package is called "server/v3": Go names the binary after the folder.
    [ "$part" != etcd ] || [ -e "$tmp/etcd" ] || mv "$tmp"/* "$tmp/etcd"
    chmod 755 "$tmp"
    # -T: if another build finished first, do not move into its folder
    mv -T "$tmp" "$done_dir" 2>/dev/null || rm -rf "$tmp"
    trap - EXIT
  fi
  ln -sf "$done_dir"/* "$cache/bin/"
done
echo "$cache/bin"
