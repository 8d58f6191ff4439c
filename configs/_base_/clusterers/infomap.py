# k-reciprocal Jaccard distance, then Infomap on its graph (pip install infomap).
clusterer = dict(type='InfomapClusterer', eps=0.6, k1=30, k2=6)
