#!/bin/sh
# Becomes a systemd that has weir's units and nothing else to do. What it and they write goes to memory, and is gone with it.
# Takes the directory of the test, the program, and the name of a control group that is not there yet,
# and calls itself without the last one, in namespaces of its own.
set -eu
if [ $# -eq 3 ]; then
    # A systemd takes the control group that it finds itself in for the root of all.
    mkdir "$1/groups"
    mount -t cgroup2 cgroup2 "$1/groups"
    mkdir "$1/groups/$3"
    echo 0 >"$1/groups/$3/cgroup.procs"
    exec unshare --pid --fork --kill-child --mount-proc --ipc --uts --cgroup --mount "$0" "$1" "$2"
fi
# It would set limits that are not its own, but the whole machine's.
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /var/lib
mount -t sysfs sysfs /sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "$1/written"
mount -t tmpfs tmpfs "$1/written"
over() {
    mkdir "$1/written/$2" "$1/written/$2.work"
    mount -t overlay -o "lowerdir=$3,upperdir=$1/written/$2,workdir=$1/written/$2.work" overlay "$3"
}
over "$1" etc /etc
over "$1" bin /usr/bin
install -m 0755 "$2" /usr/bin/weir
cp "$1"/units/* /etc/systemd/system/
cp -r "$1/drop-in" /etc/systemd/system/weir.service.d
cp "$1/weir.toml" /etc/weir.toml
exec env -i PATH="$PATH" container=weir-test \
    /lib/systemd/systemd --system --unit=weir.service --log-target=console --show-status=no
