"""How many replicas KEDA and Kubernetes' autoscaler would run, second by second, for arrivals and rates that are known.

    python -m tools.scaling                     docs/scaling.md and its plots, from benchmarks/results and k8s/
    python -m tools.scaling --trace FILE        what a trace of one's own (one number of arrivals a second, a line each)
                                                would do to each part

Nothing runs in a cluster: `autoscaler` is the published algorithm as a pure function, `cluster` the queue that it
acts on.
"""
