# Your own crops, without labels: the best recipe that there is here.
#   python tools/train.py configs/gcl_folder.py --cfg-options data_root=crops
_base_ = './best/best_folder.py'
