#!/usr/bin/env bash
# Mounts the NVMe disks of an EC2 instance as one file system: mount_nvme.sh FOLDER [DEVICES]
# They are empty whenever an instance starts. Run again, it leaves what is mounted alone.
set -euo pipefail
shopt -s nullglob
folder=$1
by_id=${2:-/dev/disk/by-id}

sudo mkdir -p "$folder"
mountpoint -q "$folder" && exit 0

# Each disk has several names there; the EBS root disk has others.
mapfile -t disks < <(
  for name in "$by_id"/nvme-Amazon_EC2_NVMe_Instance_Storage_*; do readlink -f "$name"; done | sort -u
)

if mountpoint -q /opt/dlami/nvme; then # AWS's images for GPUs have mounted them already
  sudo mount --bind /opt/dlami/nvme "$folder"
elif ((${#disks[@]} == 0)); then
  echo "mount_nvme.sh: no NVMe instance storage here; $folder stays on the root disk" >&2
else
  disk=${disks[0]}
  if ((${#disks[@]} > 1)); then
    disk=/dev/md0 # striped: a lost disk loses copies of what is on S3, nothing else
    sudo mdadm --create "$disk" --run --level=0 --raid-devices=${#disks[@]} "${disks[@]}"
  fi
  sudo mkfs.ext4 -q -E nodiscard "$disk"
  sudo mount -o noatime "$disk" "$folder"
fi
sudo chown "$(id -u):$(id -g)" "$folder"
