#!/bin/bash
# One sweep as a Slurm job: the job is the cluster, with the head on its first node.
#
#   sbatch --nodes=4 --gpus-per-node=4 --time=24:00:00 cluster/slurm.sh sweeps/my.yaml
#
# Run it from the root of the checkout. The checkout, ~/venv with the project in it, and the `store:`
# of the sweep lie on a file system that all nodes see. What else the job needs (partition, account,
# memory) is given to sbatch.
#SBATCH --job-name=tamt
#SBATCH --output=tamt-%j.log
#SBATCH --open-mode=append
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
# Five minutes before the time is up this script is told.
#SBATCH --signal=B:TERM@300
set -euo pipefail
sweep=${1:?usage: sbatch [options] cluster/slurm.sh SWEEP.yaml}

# A token of this job, which its nodes read from the shared file system. Not an argument, which
# everyone on a node can see; nor the user's own, which would open the other jobs as well.
folder=$(mktemp -d "$HOME/.tamt-$SLURM_JOB_ID.XXXXXX")
trap 'ray stop || true; echo quit | nvidia-cuda-mps-control &> /dev/null || true; rm -rf "$folder"' EXIT
export PATH=$HOME/venv/bin:$PATH
# For sweeps with `execution.finetune.share: mps`, which others leave alone: on each node one for this
# job, which Slurm ends with it at the latest.
export CUDA_MPS_PIPE_DIRECTORY=/tmp/tamt-mps-$SLURM_JOB_ID CUDA_MPS_LOG_DIRECTORY=/tmp/tamt-mps-$SLURM_JOB_ID
(umask 077; python -c 'import secrets; print(secrets.token_hex(32), end="")' > "$folder/token")
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token RAY_USAGE_STATS_ENABLED=0

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
# The address Slurm's name stands for: on a node with several networks Ray would choose one by
# itself. Workers take the network that leads to it. Debian gives a host's own name a loopback
# address too, which no other node reaches.
address=$(getent ahostsv4 "${nodes[0]}" | awk '$1 !~ /^127\./ && !n++ {print $1}')
address=${address:-$(hostname -I | awk '{print $1}')}
port=$((20000 + SLURM_JOB_ID % 10000))
resources=(--num-cpus="$SLURM_CPUS_ON_NODE" --num-gpus="${SLURM_GPUS_ON_NODE:-0}")

# What Ray writes is nobody else's to read; results get the rights that files of this job have.
(umask 077; nvidia-cuda-mps-control -d &> /dev/null || true
  ray start --head --node-ip-address="$address" --port="$port" \
  --dashboard-host=127.0.0.1 "${resources[@]}")
others=$((${#nodes[@]} - 1))
if ((others)); then
  # Some sites bind a task to one CPU unless they are told not to.
  (umask 077; exec srun --nodes="$others" --ntasks="$others" --exclude="${nodes[0]}" --cpu-bind=none \
    bash -c 'nvidia-cuda-mps-control -d &> /dev/null; exec "$@"' mps \
    ray start --block --address="$address:$port" "${resources[@]}") &
  # The driver refuses a sweep that the nodes it finds cannot hold. Ten minutes are enough; one that
  # comes later is used all the same.
  timeout 600 python -c 'import sys, time, ray
ray.init(address=sys.argv[1], logging_level="ERROR")
while len(ray.nodes()) < int(sys.argv[2]): time.sleep(1)' "$address:$port" "${#nodes[@]}" || true
fi

# Told to end, the driver saves the states of its searches; the next sbatch goes on from there.
python -m tamt_ray.sweep "$sweep" --address "$address:$port" &
driver=$!
trap 'kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
# The signal has ended that `wait`, not the driver.
if kill -0 "$driver" 2> /dev/null; then
  code=0
  wait "$driver" || code=$?
fi
exit "$code"
