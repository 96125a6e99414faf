"""Classification accuracy of frozen features (linear, kNN, few-shot) and of fine-tuned encoders."""
