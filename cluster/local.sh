#!/usr/bin/env bash
# A Ray cluster of several nodes on this machine, each a raylet of its own, for trying things out.
#
#   cluster/local.sh up [NODES=3] [CPUS=2]   starts it and prints what to export
#   cluster/local.sh kill NODE               kills a node at once: 2 or higher, 1 is the head
#   cluster/local.sh add NODE [CPUS=2]       brings another node, or it back
#   cluster/local.sh down                    ends it
#
# RACLIB_CLUSTER_DIR names the folder for sockets and logs (a short path), RACLIB_CLUSTER_PORT the
# first of a hundred ports. The dashboard listens on loopback, and every client needs the token.
set -euo pipefail

folder=${RACLIB_CLUSTER_DIR:-/tmp/raclib-cluster-$(id -u)}
port=${RACLIB_CLUSTER_PORT:-26379}
dashboard=$((port + 1))

start() { # start NODE CPUS ARGUMENTS...: in a session of its own, so that all of a node can be killed
    local node=$1 cpus=$2 && shift 2
    # A stopped job has a minute to write its checkpoint; by default it has three seconds.
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$folder/token" RAY_JOB_STOP_WAIT_TIME_S=60
    # Processes of tasks start slowly, some seconds of a core each: they are kept and used again.
    export RAY_num_workers_soft_limit=8
    # A killed node is noticed after 5 s, not 15; one that only stalls still has most of a minute.
    export RAY_health_check_period_ms=${RAY_health_check_period_ms:-1000}
    setsid ray start --block --disable-usage-stats \
        --object-store-memory 300000000 --num-cpus "$cpus" "$@" \
        --dashboard-agent-listen-port $((port + 10 + node)) --metrics-export-port $((port + 30 + node)) \
        --runtime-env-agent-port $((port + 50 + node)) --dashboard-agent-grpc-port $((port + 70 + node)) \
        >"$folder/node$node.log" 2>&1 &
    echo $! >"$folder/node$node.pid"
}

kill_node() { # kill_node NODE SIGNAL: the whole session, so that no process stays behind
    pkill "-$2" --session "$(cat "$folder/node$1.pid")" || true
}

ray_address() { # where the head says that it is: it may answer before it does
    for _ in $(seq 60); do
        grep -soE -m1 "[0-9.]+:$port" "$folder/node1.log" && return
        sleep 0.5
    done
    echo "error: $folder/node1.log: no address on port $port; is this cluster up?" >&2
    exit 1
}

up() {
    local nodes=${1:-3} cpus=${2:-2}
    if compgen -G "$folder/node*.pid" >/dev/null; then
        echo "error: $folder: a cluster is there already; end it with $0 down" >&2
        exit 1
    fi
    mkdir -p "$folder/node1"
    (umask 077 && head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' >"$folder/token")
    start 1 "$cpus" --head --port "$port" --dashboard-host 127.0.0.1 --dashboard-port "$dashboard" \
        --ray-client-server-port $((port + 2)) --temp-dir "$folder/node1"
    wait_for_nodes 1
    for node in $(seq 2 "$nodes"); do
        add "$node" "$cpus"
    done
    wait_for_nodes "$nodes"
    echo "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token"
    echo "export RAY_API_SERVER_ADDRESS=http://127.0.0.1:$dashboard"
}

add() { # add NODE [CPUS]
    local address
    address=$(ray_address)
    start "$1" "${2:-2}" --address "$address" --temp-dir "$folder/node$1"
}

wait_for_nodes() { # wait_for_nodes COUNT: until so many say that they have joined
    for _ in $(seq 240); do
        found=$(grep -ls "Ray runtime started" "$folder"/node*.log | wc -l || true)
        [ "$found" -ge "$1" ] && return
        sleep 0.25
    done
    tail --lines 5 "$folder"/node*.log >&2
    echo "error: $found of $1 nodes came up; the logs above are in $folder" >&2
    exit 1
}

down() {
    for file in "$folder"/node*.pid; do
        node=$(basename "$file" .pid)
        kill_node "${node#node}" TERM
    done
    for _ in $(seq 20); do
        pgrep --session "$(cat "$folder"/node*.pid | paste -sd,)" >/dev/null || break
        sleep 0.1
    done
    for file in "$folder"/node*.pid; do
        node=$(basename "$file" .pid)
        kill_node "${node#node}" KILL
    done
    rm -rf "$folder"
}

case ${1:-} in
    up) up "${@:2}" ;;
    add) add "${@:2}" ;;
    kill) kill_node "$2" KILL ;;
    down) down ;;
    *) sed -n '2,12p' "$0" && exit 2 ;;
esac
