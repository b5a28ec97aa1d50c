#!/usr/bin/env bash
# Build the images that tests/cluster runs, from the product's own Dockerfile, and export them as archives.
#
# usage: build.sh     (root; needs buildah, and mmdebstrap where python:3.12-slim is not at hand)
# Environment: GPU=1 adds the GPU libraries to the worker; BASE=pull fetches the real python:3.12-slim from its registry; MODEL_FOLDER is baked into the worker
# (default: the installed model tiny.en).
# Prints the folder of operator.tar, worker.tar and pause.tar as its last line:
# ${XDG_CACHE_HOME:-~/.cache}/processing-pool/images/<hash of everything that goes in>. Nothing is done if it is there.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/processing-pool
models=${PROCESSINGPOOL_MODELS:-${XDG_DATA_HOME:-$HOME/.local/share}/processingpool/models}
model=${MODEL_FOLDER:-$models/tiny.en}
base=docker.io/library/python:3.12-slim
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' "$repository/pyproject.toml")

say() { echo "images: $*" >&2; }
for tool in buildah; do command -v "$tool" >/dev/null || { say "$tool is missing: hack/apt.sh installs it"; exit 1; }; done
[ "$(id -u)" = 0 ] || { say "root is needed to build on this machine"; exit 1; }
[ -f "$model/model.bin" ] || { say "no model in $model: hack/fetch_model.py tiny.en installs it, MODEL_FOLDER=… names another"; exit 1; }
mkdir -p "$cache/images"
exec 9>"$cache/images/.lock"
flock 9 # one build at a time; the second finds the work done

buildah=(buildah --root "$cache/buildah" --runroot /run/processing-pool-buildah --storage-driver overlay)
temporary=$(mktemp -d "$cache/images/.build-XXXXXX")
trap 'rm -rf "$temporary"' EXIT

# --- what goes in: exactly what .dockerignore lets through, and the model ---
context=$temporary/context
mkdir "$context"
(cd "$repository" && tar -cf - --exclude=__pycache__ --exclude='*.egg-info' --sort=name \
  Dockerfile .dockerignore pyproject.toml README.md LICENSE contract client operator worker requirements) | tar -C "$context" -xf -
mkdir "$context/models"
cp -r "$model" "$context/models/"
hash=$( (cd "$context" && find . -type f -print0 | sort -z | xargs -0 sha256sum; sha256sum "$here"/*.sh; echo "${BASE:-}${GPU:+ gpu}") | sha256sum | cut -c1-16)
folder=$cache/images/$hash
if [ -e "$folder/worker.tar" ]; then
  touch "$folder" # the most recently used ones are kept
  echo "$folder"
  exit 0
fi

# --- the base: the real one if it is at hand, else a stand-in under the same name ---
stand_in=$(sha256sum "$here/base.sh" | cut -c1-16)
known=$("${buildah[@]}" inspect --type image --format '{{index .OCIv1.Config.Labels "dev.processingpool.stand-in"}}' "$base" 2>/dev/null || echo absent)
if [ "${BASE:-}" = pull ]; then
  "${buildah[@]}" pull -q "$base" >&2
elif [ "$known" = absent ] || { [ -n "$known" ] && [ "$known" != "$stand_in" ]; }; then
  say "python:3.12-slim is not at hand; making a stand-in of the same name (BASE=pull fetches the real one)"
  "$here/base.sh" "$temporary/root"
  tar -C "$temporary/root" -cf "$temporary/root.tar" .
  container=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add -q "$container" "$temporary/root.tar" / >/dev/null
  "${buildah[@]}" config --env PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin --env LANG=C.UTF-8 \
    --cmd python3 --label "dev.processingpool.stand-in=$stand_in" "$container"
  "${buildah[@]}" commit -q --rm "$container" "$base" >/dev/null
  rm -rf "$temporary/root" "$temporary/root.tar"
fi

# --- the build; certificates and pip's settings of this machine are bound in and leave no trace in the images ---
mounts=()
[ ! -d /etc/ssl/certs ] || mounts+=(-v /etc/ssl/certs:/etc/ssl/certs:ro)
if [ -f /etc/pip.conf ]; then mounts+=(-v /etc/pip.conf:/etc/pip.conf:ro); fi
bud() { # target, further arguments
  local target=$1
  shift
  say "building $target"
  "${buildah[@]}" bud -q --isolation chroot --network host --pull-never --layers "${mounts[@]}" "$@" \
    --target "$target" -t "docker.io/library/processing-pool-$target:$version" "$context" >"$temporary/$target.log" 2>&1 9>&- ||
    { tail -50 "$temporary/$target.log" >&2; say "$target could not be built"; exit 1; }
}
bud operator
bud worker --build-arg "MODEL=models/$(basename "$model")" ${GPU:+--build-arg "GPU=$GPU"}

# The pause image holds a pod's network open; it needs nothing but to sleep.
container=$("${buildah[@]}" from --pull-never "$base")
"${buildah[@]}" config --entrypoint '["sleep", "infinity"]' --cmd '' "$container"
"${buildah[@]}" commit -q --rm "$container" docker.io/library/processing-pool-pause:1 >/dev/null

mkdir "$temporary/out"
for image in operator:$version worker:$version pause:1; do
  name=docker.io/library/processing-pool-$image
  "${buildah[@]}" push -q "$name" "docker-archive:$temporary/out/${image%:*}.tar:$name" >&2
done
mv "$temporary/out" "$folder"
# Keep the two newest: each is about a gigabyte.
find "$cache/images" -mindepth 1 -maxdepth 1 -type d -not -name '.*' -printf '%T@ %p\n' | sort -rn | tail -n +3 | cut -d' ' -f2- | xargs -r rm -rf
# Layers are kept for the next build, until they are too many.
if [ "$(du -sm "$cache/buildah" | cut -f1)" -gt 15000 ]; then "${buildah[@]}" rmi --all --force >/dev/null; fi
echo "$folder"
