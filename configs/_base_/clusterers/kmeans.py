# k-means; the number of clusters is a guess that fits no data set exactly.
clusterer = dict(type='KMeansClusterer', num_clusters=700)
