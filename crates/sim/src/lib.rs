//! A deterministic world for replicas: network, faults, workload and an independent oracle.
