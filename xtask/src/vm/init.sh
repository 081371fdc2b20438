#!/bin/busybox sh
# The guest's first process: runs every test program and says how each ended. The console is read by vm.rs.
export PATH=/usr/bin:/bin:/sbin WEIR_BIN=/usr/bin/weir RUST_TEST_THREADS=1 TMPDIR=/tmp
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /run/netns
/bin/busybox --install -s /bin
# iproute2's and util-linux' are meant, not busybox' own.
for program in ip tc nsenter unshare; do rm -f /bin/$program; done
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/netns /dev/pts /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
exec >/dev/console 2>&1 </dev/null
while read -r module; do insmod "/modules/$module.ko" || echo "vm: no module $module"; done </modules/order
if grep -q weir.nobtf /proc/cmdline; then mount --bind /dev/null /sys/kernel/btf/vmlinux || echo "vm: failed: hiding BTF"; fi
if grep -q weir.nojit /proc/cmdline; then echo 0 >/proc/sys/net/core/bpf_jit_enable || echo "vm: failed: switching the JIT off"; fi
echo "vm: $(uname -rm) jit=$(cat /proc/sys/net/core/bpf_jit_enable) btf=$(wc -c </sys/kernel/btf/vmlinux)"
ip link set lo up
cd /tests
for test in *; do
    echo "vm: begin: $test"
    "./$test" || echo "vm: failed: $test"
done
echo "vm: end"
poweroff -f
