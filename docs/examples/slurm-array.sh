#!/bin/sh
#SBATCH --job-name=negmine
#SBATCH --array=0-7
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=24:00:00
#SBATCH --output=%x-%A-%a.log
# Runs one stage as a job array, a shard for every task, counted from 0. Options of sbatch beat the
# lines above, and everything behind the script's name is the stage's:
#
#   sbatch --parsable --array=0-63 slurm-array.sh rerank work/candidates --scorer ce=MODEL -o work/scored
#   sbatch --dependency=afterok:JOB --wrap 'negmine collect work/scored'
#
# Tasks that failed or ran out of time go on where they stopped. Say then of how many they are some:
#
#   SHARDS=64 sbatch --array=3,17 slurm-array.sh rerank work/candidates --scorer ce=MODEL -o work/scored
set -eu
export OMP_NUM_THREADS="${SLURM_CPUS_PER_TASK:-1}"
# What is left of a task's time is for its clean end: negmine keeps what a model has made and stops.
exec negmine "$@" --shard "auto${SHARDS:+/$SHARDS}"
