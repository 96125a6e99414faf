"""Classification from frozen features and by fine-tuning."""
