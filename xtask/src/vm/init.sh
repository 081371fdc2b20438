#!/bin/busybox sh
# The guest's first process: runs every test program and says how each ended. The console is read by vm/console.rs.
export PATH=/usr/bin:/bin:/sbin WEIR_BIN=/usr/bin/weir RUST_TEST_THREADS=1 TMPDIR=/tmp WEIR_CELLS=/tmp/cells WEIR_EMULATED=1
/bin/busybox mkdir -p /bin /sbin /proc /sys /dev /tmp /run/netns
/bin/busybox --install -s /bin
# Where iproute2's and util-linux' are brought along they are meant, not busybox' own.
for program in ip tc nsenter unshare prlimit; do [ -e /usr/bin/$program ] && rm -f /bin/$program; done
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
mount -t tmpfs run /run
mkdir -p /run/netns /dev/pts /dev/net
[ -e /dev/net/tun ] || mknod /dev/net/tun c 10 200
exec >/dev/console 2>&1 </dev/null
while read -r module; do insmod "/modules/$module.ko" || echo "vm: no module $module"; done </modules/order
jit=/proc/sys/net/core/bpf_jit_enable
btf=/sys/kernel/btf/vmlinux
if grep -q weir.nobtf /proc/cmdline; then mount --bind /dev/null $btf || echo "vm: failed: hiding BTF"; fi
for value in 0 1; do
    # A kernel without a JIT has no such file.
    if grep -q weir.jit=$value /proc/cmdline && [ -e $jit ]; then
        echo $value >$jit || echo "vm: failed: setting the JIT to $value"
    fi
done
echo "vm: kernel: $(uname -r)"
if [ -e $jit ]; then echo "vm: jit: $(cat $jit)"; else echo "vm: jit: none"; fi
if [ -e $btf ] && [ "$(wc -c <$btf)" != 0 ]; then echo "vm: btf: yes"; else echo "vm: btf: no"; fi
ip link set lo up
cd /tests
for test in *; do
    echo "vm: begin: $test"
    "./$test" || echo "vm: failed: $test"
done
# Not while a test runs: its own lines would be torn.
[ -e $WEIR_CELLS ] && cat $WEIR_CELLS
echo "vm: end"
poweroff -f
