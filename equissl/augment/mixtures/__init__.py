"""RandAugment and AugMix."""
