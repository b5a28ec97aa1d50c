#!/usr/bin/env bash
# Make the tree of a stand-in for the image python:3.12-slim: Debian's minimal system and a CPython under /usr/local.
# usage: base.sh FOLDER     (root; needs mmdebstrap)
# It stands in where no image registry can be reached. It is not the real image: another patch version, and only the
# packages named here. A python3.12 of this machine is used where one is found, else Debian's python3.
set -euo pipefail
root=${1:?usage: base.sh FOLDER}

prefix=
for candidate in /usr/local "$HOME"/.pyenv/versions/3.12* /opt/python/3.12*; do
  if [ -x "$candidate/bin/python3.12" ] && [ -d "$candidate/lib/python3.12/site-packages/pip" ]; then prefix=$candidate; fi
done

packages=(ca-certificates netbase tzdata)
if [ -n "$prefix" ]; then
  mapfile -t libraries < <(
    ldd "$prefix/bin/python3.12" "$prefix"/lib/python3.12/lib-dynload/[!_]*.so "$prefix"/lib/python3.12/lib-dynload/_[!t]*.so |
      awk '/=> \//{print $3}' | grep -v "^$prefix/" | sort -u
  )
  for library in "${libraries[@]}"; do
    package=$(dpkg-query -S "*/${library##*/}" 2>/dev/null | sed -n '1s/:.*//p')
    [ -z "$package" ] || packages+=("$package")
  done
  echo "base image: CPython of $prefix on Debian's minimal system" >&2
else
  packages+=(python3 python3-pip python3-venv)
  echo "base image: no python3.12 found, Debian's python3 stands in for it" >&2
fi

include=$(printf '%s\n' "${packages[@]}" | sort -u | paste -sd,)
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mmdebstrap --quiet --variant=minbase --mode=root --include="$include" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  "$suite" "$root"

if [ -n "$prefix" ]; then
  (cd "$prefix" && tar -cf - --exclude=__pycache__ --exclude='*.a' --exclude='lib/python3.12/site-packages/*' \
    --exclude=lib/python3.12/test --exclude=lib/python3.12/idlelib --exclude=lib/python3.12/tkinter \
    --exclude='lib/python3.12/lib-dynload/_tkinter*' --exclude='lib/python3.12/config-3.12*' \
    bin/python3.12 lib/python3.12 $(ls -d lib/libpython3.12* lib/libpython3.so 2>/dev/null)) | tar -C "$root/usr/local" -xf -
  packages_folder=lib/python3.12/site-packages
  cp -a "$prefix/$packages_folder/pip" "$prefix/$packages_folder"/pip-*.dist-info "$root/usr/local/$packages_folder/"
  ln -sf python3.12 "$root/usr/local/bin/python3"
else
  ln -sf ../../bin/python3 "$root/usr/local/bin/python3"
  rm -f "$root"/usr/lib/python3*/EXTERNALLY-MANAGED
fi
ln -sf python3 "$root/usr/local/bin/python"
printf '#!/bin/sh\nexec /usr/local/bin/python3 -m pip "$@"\n' >"$root/usr/local/bin/pip"
chmod 755 "$root/usr/local/bin/pip"
ldconfig -r "$root"
rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/apt
