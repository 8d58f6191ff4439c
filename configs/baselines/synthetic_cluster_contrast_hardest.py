# Cluster Contrast on the synthetic set, its memory updated by the hardest query of a
# cluster; the loss is over all queries.
_base_ = './synthetic_cluster_contrast.py'
model = dict(head=dict(policy='selective', topk=1, loss_queries='all'))
