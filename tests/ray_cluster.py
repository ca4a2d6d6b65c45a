"""A Ray cluster of several machines on this one, in a process that ends them by their ids.

``python ray_cluster.py FOLDER COUNT``: prints the address, and then ends the machine whose number
is read, or begins another one at the word ``more`` and prints its number; at the end of its input
it ends all.
"""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Begin the machines, and do as stdin says."""
    folder, count = sys.argv[1], int(sys.argv[2])
    os.environ |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_TMPDIR": folder,
        # A machine that is gone is missed sooner.
        "RAY_health_check_period_ms": "1000",
        "RAY_health_check_timeout_ms": "3000",
        "RAY_health_check_failure_threshold": "5",
    }
    from ray.cluster_utils import Cluster

    kept = {
        **{"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False},
        **{"dashboard_agent_listen_port": 0, "include_log_monitor": False},
    }
    # What a machine has read of a bucket is on no other one.
    os.environ["NEGMINE_CACHE"] = f"{folder}/cache-of-head"
    cluster = Cluster(initialize_head=True, head_node_args=kept)
    del kept["include_dashboard"]
    nodes: list[object] = []

    def add(**how: bool) -> None:
        os.environ["NEGMINE_CACHE"] = f"{folder}/cache-{len(nodes)}"
        nodes.append(cluster.add_node(**kept, **how))

    for _ in range(count - 1):
        add()
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "more":
            # It is there when it is: on a busy machine that takes longer than Ray waits.
            add(wait=False)
            print(f"there {len(nodes) - 1}", flush=True)
            continue
        cluster.remove_node(nodes[int(line)], allow_graceful=False)
        print("gone", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
