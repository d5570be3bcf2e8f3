#!/usr/bin/env bash
# Becomes a host: run as root in fresh mount, pid, network, uts and ipc namespaces. Its file system
# is the machine's with a layer of its own on top, which is forgotten with the host; so are its
# processes. Of the machine's network it has nothing.
#   host.sh NAME USER SHARED ENVIRONMENT BASE
# SHARED is a directory all hosts see as /shared, ENVIRONMENT a Python environment, seen as
# /opt/env, and BASE the installation it was made from.
set -euo pipefail
name=$1 user=$2 shared=$3 environment=$4 base=$5

mount --make-rprivate /
layers=$(mktemp -d)
mount -t tmpfs -o mode=755,size=4g tmpfs "$layers"
mkdir -p "$layers"/{root,above,work,environment,environment-work}
root=$layers/root
mount -t overlay -o "lowerdir=/,upperdir=$layers/above,workdir=$layers/work" overlay "$root"
mkdir -p "$root"/{shared,opt/env,old}
mount --bind "$shared" "$root/shared"
mount -t overlay overlay "$root/opt/env" \
  -o "lowerdir=$environment,upperdir=$layers/environment,workdir=$layers/environment-work"
mount --rbind /dev "$root/dev"
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount --bind "$root/dev/pts/ptmx" "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t proc proc "$root/proc"
cd "$root"
pivot_root . old
umount -l /old

hostname "$name"
echo "127.0.0.1 localhost $name" > /etc/hosts
ip link set lo up
useradd --create-home --shell /bin/bash --password '*' "$user"
# Readable for the user as well, where they lie in root's own home.
chmod 755 /opt/env
while [[ $base != / ]]; do chmod o+rx "$base"; base=$(dirname "$base"); done

home=$(getent passwd "$user" | cut -d: -f6)
runuser -u "$user" -- bash -s "$home" <<'SETUP'
set -euo pipefail
cd "$1"
mkdir -m 700 .ssh
# An environment on the shared one, in which the project comes from ~/tamt_ray.
/opt/env/bin/python -m venv --without-pip venv
packages=$(echo venv/lib/python*/site-packages)
shared=$(echo /opt/env/lib/python*/site-packages)
printf '%s\n' "$1/tamt_ray" "import site; site.addsitedir('$shared')" > "$packages/host.pth"
for script in ray mlflow; do
  sed "1s|.*|#!$1/venv/bin/python|" "/opt/env/bin/$script" > "venv/bin/$script"
done
printf '#!%s\nfrom tamt_ray.cli.entry import main\nmain()\n' "$1/venv/bin/python" > venv/bin/tamt
chmod +x venv/bin/{ray,mlflow,tamt}
SETUP

mkdir -p /run/sshd
ssh-keygen -q -t ed25519 -N '' -f /run/host_key
cat > /run/sshd_config <<'CONFIG'
HostKey /run/host_key
PasswordAuthentication no
UsePAM no
CONFIG
/usr/sbin/sshd -D -f /run/sshd_config &
touch /run/host_is_up
# As the first process it also buries the orphans.
while :; do wait || true; sleep 1; done
