#!/usr/bin/env bash
# Install the Debian packages that tests/cluster needs (node, images, speech); nothing else of the product needs apt.
# usage: apt.sh [--list]   --list prints what would be installed and changes nothing
set -euo pipefail

packages=(
  containerd runc containernetworking-plugins iptables iproute2 util-linux # the node
  buildah mmdebstrap                                                       # its images
  redis-server                                                             # the Redis beside the pods
  espeak-ng pocketsphinx-testdata                                          # speech with known words
  ffmpeg                                                                   # for the suites that run the worker outside a container
)

missing=()
for package in "${packages[@]}"; do
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
done

if [ "${1:-}" = --list ]; then
  printf '%s\n' "${missing[@]}"
  exit 0
fi
[ ${#missing[@]} -gt 0 ] || exit 0
command -v apt-get >/dev/null || { echo "apt.sh: not a Debian system; tests/cluster needs the like of: ${missing[*]}" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "apt.sh: not root, so nothing was installed; tests/cluster needs: sudo apt-get install --no-install-recommends ${missing[*]}" >&2; exit 1; }

export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq -y --no-install-recommends "${missing[@]}"
