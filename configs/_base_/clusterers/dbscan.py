# k-reciprocal Jaccard distance (k1, k2), then DBSCAN: alpha = 0.6, beta = 4.
clusterer = dict(
    type='DBSCANClusterer', eps=0.6, min_samples=4, k1=30, k2=6)
