"""How good is it? Accuracy, log loss, calibration, and whether one model beats another by chance."""
