"""`curate build` on Slurm, Kubernetes or this machine: starts workers, builds on them, and ends them.

python pipelines/cluster.py slurm --workers 32 --queue cpu -- --source list.csv --out /shared/build
python pipelines/cluster.py kubernetes --workers 32 --image IMAGE -- --source list.csv --out s3://bucket/build

Everything behind `--` goes to `curate build`. Workers are processes of one thread; docs/cluster.md says what they need.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from typing import Any

import dask

SILENT_S = 120
"""Seconds of silence after which a worker's sources are given to others (Dask's own value is five minutes)."""


def slurm(options: argparse.Namespace) -> Any:
    """A job a worker; needs `pip install dask-jobqueue`, and curate on a disk that all nodes see."""
    from dask_jobqueue import SLURMCluster

    return SLURMCluster(
        cores=1,
        processes=1,
        memory=options.memory,
        queue=options.queue,
        walltime=options.walltime,
        python=sys.executable,  # the same environment on the nodes
    )


def kubernetes(options: argparse.Namespace) -> Any:
    """A pod a worker; needs `pip install dask-kubernetes`, its operator in the cluster, and an image with curate."""
    from dask_kubernetes.operator import KubeCluster, make_cluster_spec

    spec = make_cluster_spec(
        name="curate",
        image=options.image,
        n_workers=0,
        resources={"requests": {"cpu": "1", "memory": options.memory}, "limits": {"memory": options.memory}},
        worker_command=["dask", "worker", "--nthreads", "1"],
        env={"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{SILENT_S}s"},
    )
    (scheduler,) = spec["spec"]["scheduler"]["spec"]["containers"]
    scheduler["args"] = ["dask", "scheduler", "--host", "0.0.0.0", "--preload", "curate.run.steady"]  # noqa: S104
    return KubeCluster(custom_cluster_spec=spec)


def local(_: argparse.Namespace) -> Any:
    """Processes on this machine, to try a list before it costs money."""
    from distributed import LocalCluster

    return LocalCluster(n_workers=0, threads_per_worker=1, processes=True, dashboard_address=":0")


def main(arguments: list[str]) -> int:
    """Returns the exit status of `curate build`."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("slurm", "kubernetes", "local"))
    parser.add_argument("--workers", type=int, default=2, help="processes")
    parser.add_argument("--memory", default="4GiB", help="of a worker")
    parser.add_argument("--queue", help="Slurm partition")
    parser.add_argument("--walltime", default="24:00:00", help="of a Slurm job; workers that end are replaced by none")
    parser.add_argument("--image", default="curate:latest", help="Kubernetes image")
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options, build = parser.parse_args(arguments[:end]), arguments[end + 1 :]
    dask.config.set({"distributed.scheduler.worker-ttl": f"{SILENT_S}s"})
    with {"slurm": slurm, "kubernetes": kubernetes, "local": local}[options.kind](options) as cluster:
        cluster.scale(options.workers)
        command = [sys.executable, "-m", "curate", "build", "--scheduler", cluster.scheduler_address, *build]
        return subprocess.call(command)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
