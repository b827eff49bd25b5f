#!/bin/bash
# One job is a Ray cluster for one command: sbatch examples/slurm/ray.sh --encoder hindex --out /shared/runs
#SBATCH --job-name=hindex-bench
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-task=1
#SBATCH --time=24:00:00
set -euo pipefail

hosts=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts%%$'\n'*}
exec srun ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" \
  --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_PER_TASK:-0}" -- \
  bench run --launcher ray --address auto --cpus-per-run 4 --gpus-per-run 0.25 "$@"
