# k-reciprocal Jaccard distance, then HDBSCAN: clusters of different densities.
clusterer = dict(
    type='HDBSCANClusterer', min_cluster_size=4, max_distance=0.8, k1=30, k2=6)
