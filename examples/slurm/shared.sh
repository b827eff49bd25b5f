#!/bin/bash
# The jobs of an array share the runs of one command: sbatch examples/slurm/shared.sh --encoder hindex --out /shared/runs
#SBATCH --job-name=hindex-bench
#SBATCH --array=0-3
#SBATCH --cpus-per-task=4
#SBATCH --gres=gpu:1
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@120
#SBATCH --requeue
set -euo pipefail

exec srun --ntasks=1 --cpus-per-task="$SLURM_CPUS_PER_TASK" bench run "$@"
