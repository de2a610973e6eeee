#!/usr/bin/env bash
# Before a host goes (a pod's preStop hook, a reclaimed spot instance): drain.sh SECONDS [PROC]
# Asks Ray to place nothing new here and to tell Ray Train that the host will be gone in SECONDS, then
# waits as long as a training worker lives here, at most SECONDS: SIGTERM to a raylet ends its workers
# at once, in the middle of writing a checkpoint if need be.
set -uo pipefail
seconds=$1
proc=${2:-/proc}

training() {
  grep --quiet --no-messages --text '^ray::RayTrainWorker' "$proc"/[0-9]*/cmdline
}

# Nothing to wait for on a host that is scaled down for idleness, or after the job.
training || exit 0
end=$((SECONDS + seconds))
# A head that is gone cannot be asked; the time to finish writing is worth having all the same.
timeout 20 ray drain-node --reason DRAIN_NODE_REASON_PREEMPTION \
  --reason-message "host is shutting down" --deadline-remaining-seconds "$seconds" ||
  echo "drain.sh: Ray could not be told" >&2
while training && ((SECONDS < end)); do
  sleep 1
done
