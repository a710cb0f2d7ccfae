#!/bin/sh
# Installs the Debian packages that the test cluster's nodes and add-ons need. Says nothing, and
# touches nothing, when all of them are there.
set -eu

packages="
    busybox-static buildah ca-certificates conntrack containerd containernetworking-plugins
    debootstrap e2fsprogs ebtables iproute2 ipset iptables kmod postgresql procps prometheus runc
    socat util-linux
"

if ! command -v dpkg-query >/dev/null; then
    echo "This is no Debian: install the like of these packages yourself:$packages" >&2
    exit 1
fi

missing=""
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
    echo "Not installed:$missing. Run this as root: sudo $0" >&2
    exit 1
fi

echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive

# Their services are not wanted, only their programs: the cluster runs its own. A policy that is
# there already is its owner's, and stays.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi

log=$(mktemp)
if ! { apt-get update -q && apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1
then
    tail -n 20 "$log" >&2
    echo "apt-get failed; all it said is in $log" >&2
    exit 1
fi
rm -f "$log"
