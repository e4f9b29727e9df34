#!/bin/sh
# Run a command as the user of an image in a file system of its own: python (where this machine's Python lies), app (the
# folder that becomes /app) and the system's programs and libraries read-only, and the folders in volumes. To be run in
# a mount namespace of its own; root is the empty folder that the file system is made in.
set -eu
root=$1 python=$2 app=$3 volumes=$4 user=$5 group=$6 workdir=$7; shift 7
mount -t tmpfs -o mode=755,size=1m,nosuid tmpfs "$root"
shown() { mkdir -p "$root$2"; mount --bind "$1" "$root$2"; mount -o remount,bind,ro,nosuid "$root$2"; }
shown /usr /usr
for folder in bin sbin lib lib64; do
    if [ -L "/$folder" ]; then cp -P "/$folder" "$root/"; elif [ -e "/$folder" ]; then shown "/$folder" "/$folder"; fi
done
case $python in /usr | /usr/*) ;; *) shown "$python" "$python" ;; esac
shown "$app" /app
mkdir "$root/etc" "$root/proc" "$root/sys" "$root/dev"
cp /etc/ld.so.cache "$root/etc/"
echo "root:x:0:0::/root:/bin/sh
judgefree:x:$user:$group::/data:/usr/sbin/nologin" > "$root/etc/passwd"
echo "judgefree:x:$group:" > "$root/etc/group"
echo "127.0.0.1 localhost" > "$root/etc/hosts"
mount -t proc proc "$root/proc"
mount --bind /sys "$root/sys"
mount -o remount,bind,ro "$root/sys"
for device in null zero full random urandom; do
    touch "$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
for volume in "$volumes"/*; do
    mkdir "$root/${volume##*/}"; mount --bind "$volume" "$root/${volume##*/}"
done
mount -o remount,ro "$root"
exec /usr/sbin/chroot "$root" /usr/bin/setpriv --reuid "$user" --regid "$group" --clear-groups --no-new-privs \
    --inh-caps=-all --bounding-set=-all /usr/bin/env --chdir "$workdir" -- "$@"
