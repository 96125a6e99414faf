"""torchvision.transforms.v2 transforms as augmentations that record and replay."""
