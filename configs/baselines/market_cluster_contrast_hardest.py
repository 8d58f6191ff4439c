# Cluster Contrast on Market-1501. The hardest query of a cluster updates the memory;
# the loss is over all queries.
_base_ = './market_cluster_contrast.py'
model = dict(head=dict(policy='selective', topk=1, loss_queries='all'))
